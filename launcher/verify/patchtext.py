"""Unified diffs, applied in memory and without fuzz: patch text and file contents in, contents out.

It exists so that a stranger's patches can be checked without handing them to a program that writes
files. What git would apply with an offset is refused here.
"""

import itertools
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

_FILE = re.compile(rb"^diff --git a/(.+?) b/(.+)$")
_HUNK = re.compile(rb"^@@ -(\d+)(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_NO_NEWLINE = b"\\ No newline at end of file"


class PatchError(Exception):
    """Why a patch does not fit the files it is to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePatch:
    """The part of a patch that changes one file."""

    path: str
    created: bool
    deleted: bool
    lines: tuple[bytes, ...]  # hunks, with their headers


def split(patch: bytes) -> list[FilePatch]:
    """Cut a patch into its files. Raises PatchError for what is not plain text."""
    found: list[FilePatch] = []
    lines = patch.split(b"\n")
    starts = [number for number, line in enumerate(lines) if _FILE.match(line)]
    for start, stop in itertools.pairwise([*starts, len(lines)]):
        section = lines[start:stop]
        match = _FILE.match(section[0])
        if match is None or match[1] != match[2]:
            raise PatchError(f"{section[0]!r} renames a file, which our patches never do")
        path = match[2].decode("utf-8", "replace")
        first = next((n for n, line in enumerate(section) if line.startswith(b"@@")), len(section))
        head = b"\n".join(section[:first])
        if b"GIT binary patch" in head or b"Binary files" in head:
            raise PatchError(f"{path} is patched as binary, which our patches never do")
        found.append(
            FilePatch(
                path=path,
                created=b"\nnew file mode" in head,
                deleted=b"\ndeleted file mode" in head,
                lines=tuple(section[first:]),
            )
        )
    return found


def apply(patch: bytes, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files after the patch. Raises PatchError naming the first place that differs."""
    after = dict(files)
    for part in split(patch):
        if part.created == (part.path in after):
            raise PatchError(f"{part.path} {'exists already' if part.created else 'is not there'}")
        content = _patched(part, after.get(part.path, b""))
        if part.deleted:
            del after[part.path]
        else:
            after[part.path] = content
    return after


def _patched(part: FilePatch, content: bytes) -> bytes:
    old = content.split(b"\n")
    editor = _Editor(path=part.path, old=old)
    rest = deque(part.lines)
    while rest and (header := _HUNK.match(rest[0])):
        rest.popleft()
        editor.hunk(header, rest)
    return editor.result()


class _Editor:
    """One file between its old and its new lines."""

    def __init__(self, *, path: str, old: list[bytes]) -> None:
        self.path = path
        self.old = old
        self.new: list[bytes] = []
        self.position = 0  # in old
        self.bare_end = {b"-": False, b"+": False}  # said to end without a line end

    def hunk(self, header: re.Match[bytes], rest: deque[bytes]) -> None:
        size_old, size_new = (int(header[group] or 1) for group in (2, 3))
        start = int(header[1]) - (1 if size_old else 0)
        if not self.position <= start <= len(self.old):
            raise PatchError(f"{self.path}: a hunk points outside the file")
        self.new += self.old[self.position : start]
        self.position = start
        while size_old > 0 or size_new > 0 or (rest and rest[0] == _NO_NEWLINE):
            if not rest:
                raise PatchError(f"{self.path}: a hunk is cut short")
            mark, text = _parted(rest.popleft())
            size_old -= mark in (b" ", b"-")
            size_new -= mark in (b" ", b"+")
            if size_old < 0 or size_new < 0:
                raise PatchError(f"{self.path}: a hunk is longer than it says")
            self._line(mark, text, rest)

    def _line(self, mark: bytes, text: bytes, rest: deque[bytes]) -> None:
        if mark not in (b" ", b"-", b"+"):
            raise PatchError(f"{self.path}: a hunk holds {(mark + text)[:40]!r}")
        if mark != b"+":
            if self.position >= len(self.old) or self.old[self.position] != text:
                raise PatchError(f"{self.path}, line {self.position + 1}: is not what it changes")
            self.position += 1
        if mark != b"-":
            self.new.append(text)
        if rest and rest[0] == _NO_NEWLINE:
            rest.popleft()
            for side in self.bare_end:
                self.bare_end[side] |= mark in (b" ", side)

    def result(self) -> bytes:
        lines = self.new + self.old[self.position :]
        after = b"\n".join(lines)
        if self.bare_end[b"-"] and not self.bare_end[b"+"]:
            return after + b"\n" if lines else after  # an empty file has no line to end
        if self.bare_end[b"+"] and not self.bare_end[b"-"]:
            return after.removesuffix(b"\n")
        return after


def _parted(line: bytes) -> tuple[bytes, bytes]:
    """Split a hunk's line; an empty one is an empty line of context whose blank was lost."""
    return (line[:1] or b" "), line[1:]
