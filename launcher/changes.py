"""What was changed against the reference, told from the patches themselves.

Patch files and overlay trees to `Change`s: subject, reason and files of each patch, and the list
of whole new files. It reads headers and never applies anything.
"""

import email
import email.policy
import re
from dataclasses import dataclass
from pathlib import Path

from launcher.core.benchmark import Benchmark
from launcher.errors import ConfigError

_FILE = re.compile(r"^diff --git a/(\S+) b/(\S+)$", re.MULTILINE)
_PREFIX = re.compile(r"^\[PATCH[^\]]*\]\s*")
_TRAILER = re.compile(r"^(Upstream): *(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One patch on files of the reference, and why it exists."""

    name: str  # of the patch file
    subject: str
    why: str
    upstream: str | None  # what was or is to be done about it upstream
    files: tuple[str, ...]
    added: int  # lines
    removed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Everything that stands between the reference and one benchmark's source."""

    patches: tuple[Change, ...]
    new_files: tuple[str, ...]  # relative to the source tree's root


def read(patches: Path, benchmark: Benchmark) -> Changes:
    """Read `<patches>/<benchmark>` and the overlay that both benchmarks share.

    Raises ConfigError when the series names a patch that is not there.
    """
    folder = patches / benchmark.value
    new = [
        path.relative_to(root).as_posix()
        for root in (patches / "common" / "files", folder / "files")
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    found = tuple(_read_patch(folder, name) for name in series(folder))
    return Changes(patches=found, new_files=tuple(sorted(new)))


def series(folder: Path) -> list[str]:
    """Return the names of a benchmark's patches in the order they are applied."""
    listing = folder / "series"
    if not listing.is_file():
        return []
    lines = (line.split("#")[0].strip() for line in listing.read_text("utf-8").splitlines())
    return [line for line in lines if line]


def _read_patch(folder: Path, name: str) -> Change:
    path = folder / name
    if not path.is_file():
        raise ConfigError(f"{folder / 'series'}: {name} is not there; remove the line or add it.")
    return parse(name, path.read_text("utf-8", errors="replace"))


def parse(name: str, text: str) -> Change:
    """Read one patch as `git format-patch` writes it."""
    head, _, diff = text.partition("\ndiff --git ")
    diff = f"diff --git {diff}" if diff else ""
    message = email.message_from_string(head, policy=email.policy.default)
    body = re.split(r"^---$", str(message.get_payload()), maxsplit=1, flags=re.MULTILINE)[0]
    upstream = _TRAILER.search(body)
    lines = diff.splitlines()
    return Change(
        name=name,
        subject=_PREFIX.sub("", " ".join(str(message["Subject"] or name).split())),
        why=_TRAILER.sub("", body).strip(),
        upstream=upstream[2].strip() if upstream else None,
        files=tuple(dict.fromkeys(match[2] for match in _FILE.finditer(diff))),
        added=sum(line.startswith("+") and not line.startswith("+++ ") for line in lines),
        removed=sum(line.startswith("-") and not line.startswith("--- ") for line in lines),
    )


def describe(changes: Changes) -> str:
    """Tell one benchmark's changes as plain text, a paragraph a patch."""
    overlay = f"{len(changes.new_files)} whole files are added to the reference."
    told = (
        f"{change.subject} ({', '.join(change.files)}): {_flow(change.why)}"
        for change in changes.patches
    )
    return "\n".join([overlay, *told])


def _flow(text: str) -> str:
    """Undo the hard line breaks of a commit message."""
    return " ".join(text.split())
