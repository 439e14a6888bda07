"""A response from a stranger, as a folder: archive or folder in, a checked folder out.

Nothing is ever written outside a fresh temporary folder, nothing in it is executed, and no link is
ever made or followed. Limits on bytes, members, ratio, names and depth hold while reading, so that
a bomb costs what the limits allow and not what it claims. A refusal names the member.
"""

import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn
from unicodedata import category

from launcher import archive
from launcher.errors import ResponseError


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a package may hold. A full response has some 1,000 files and 100 MB."""

    total_bytes: int = 4 << 30
    member_bytes: int = 1 << 30
    members: int = 20_000
    ratio: int = 250  # unpacked over packed; logs reach 40
    ratio_from: int = 64 << 20  # small things may compress as well as they like
    name_bytes: int = 255  # of one folder or file name
    path_bytes: int = 1024
    depth: int = 32


LIMITS = Limits()
_DRIVE = re.compile(r"^[A-Za-z]:")


@contextmanager
def opened(package: Path, limits: Limits = LIMITS) -> Iterator[Path]:
    """Yield a folder with the package's files, gone afterwards unless it was a folder before.

    Raises ResponseError when the package cannot be read or holds what no response holds.
    """
    if package.is_dir():
        check_folder(package, limits)
        yield package
        return
    with tempfile.TemporaryDirectory(prefix="launcher-verify-") as folder:
        unpack(package, Path(folder), limits)
        yield Path(folder)


def unpack(package: Path, into: Path, limits: Limits = LIMITS) -> None:
    """Unpack an archive into an empty folder.

    Raises ResponseError at the first member that is not a plain file or folder below `into`.
    """
    try:
        with package.open("rb") as source:
            packed = os.fstat(source.fileno()).st_size
            _Writer(package=package, into=into, limits=limits, packed=packed).write_all(source)
    except OSError as error:
        raise ResponseError(f"{package} cannot be unpacked: {error.strerror}.") from error


class _Writer:
    """Writes members below one folder and keeps count."""

    def __init__(self, *, package: Path, into: Path, limits: Limits, packed: int) -> None:
        self.package = package
        self.into = into
        self.limits = limits
        self.packed = packed
        self.total = 0
        self.count = 0

    def write_all(self, source: BinaryIO) -> None:
        for member in archive.members(self.package, source):
            self._count()
            parts = safe_parts(self.package, member.raw_name, self.limits)
            if member.is_folder:
                self._make_folder(parts)
            elif not parts:
                self._refuse([member.raw_name.decode()], "is a file without a name")
            else:
                self._make_folder(parts[:-1])
                self._write(parts, member)

    def _count(self) -> None:
        self.count += 1
        if self.count > self.limits.members:
            raise ResponseError(
                f"{self.package} holds more than {self.limits.members} members; refused."
            )

    def _make_folder(self, parts: list[str]) -> None:
        folder = self.into.joinpath(*parts)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            self._refuse(parts, "is both a file and a folder")

    def _write(self, parts: list[str], member: archive.Member) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            mode = 0o700 if member.executable else 0o600  # a source tree's id depends on it
            handle = os.open(self.into.joinpath(*parts), flags, mode)
        except FileExistsError:
            self._refuse(parts, "comes twice")
        written = 0
        with os.fdopen(handle, "wb") as target:
            for chunk in member.chunks:
                written += len(chunk)
                self._require_room(parts, written, len(chunk))
                target.write(chunk)

    def _require_room(self, parts: list[str], written: int, more: int) -> None:
        self.total += more
        limits = self.limits
        if written > limits.member_bytes:
            self._refuse(parts, f"is larger than {limits.member_bytes} bytes")
        if self.total > limits.total_bytes:
            self._refuse(parts, f"takes the package over {limits.total_bytes} bytes")
        if self.total > limits.ratio_from and self.total > limits.ratio * self.packed:
            self._refuse(parts, f"unpacks to over {limits.ratio} times the archive's size")

    def _refuse(self, parts: list[str], why: str) -> NoReturn:
        name = archive.shown("/".join(parts).encode())
        raise ResponseError(f"{self.package}: member {name} {why}; refused.")


def safe_parts(package: Path, raw: bytes, limits: Limits = LIMITS) -> list[str]:
    """Split a member's name into plain names below the root, or refuse it."""
    why = None
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        name, why = "", "is not UTF-8"
    parts = [part for part in name.rstrip("/").split("/") if part != "."]
    checks = (
        (name.startswith("/"), "is an absolute path"),
        (_DRIVE.match(name), "names a drive"),
        (".." in parts, "climbs out by '..'"),
        ("\\" in name, "holds a backslash"),
        (any(category(char) == "Cc" for char in name), "holds a control character"),
        (len(parts) > limits.depth, f"lies deeper than {limits.depth} folders"),
        (len(raw) > limits.path_bytes, f"is longer than {limits.path_bytes} bytes"),
        (any(len(part.encode()) > limits.name_bytes for part in parts), "has too long a name"),
        (name != "" and "" in parts and parts != [""], "holds an empty name"),
    )
    why = why or next((text for failed, text in checks if failed), None)
    if why:
        raise ResponseError(f"{package}: member {archive.shown(raw)} {why}; refused.")
    return [part for part in parts if part]


def check_folder(root: Path, limits: Limits = LIMITS) -> None:
    """Walk a folder without following anything; refuse what an archive would be refused for."""
    total = 0
    for count, (relative, entry) in enumerate(_walk(root)):
        raw = os.fsencode(relative)
        safe_parts(root, raw, limits)
        status = entry.stat(follow_symlinks=False)
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise ResponseError(
                f"{root}: {archive.shown(raw)} is a link, device or pipe; refused. "
                "Look at a copy without it."
            )
        total += status.st_size
        if count >= limits.members or total > limits.total_bytes:
            raise ResponseError(
                f"{root} holds more than {limits.members} entries or {limits.total_bytes} bytes; "
                "name the response's own folder."
            )


def _walk(root: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """List everything below a folder but a clone's own `.git`, without following links."""
    pending = [""]
    while pending:
        below = pending.pop()
        with os.scandir(root / below) as entries:
            for entry in entries:
                relative = os.path.join(below, entry.name)  # noqa: PTH118 - not a path yet
                if relative == ".git":
                    continue
                yield relative, entry
                if entry.is_dir(follow_symlinks=False):
                    pending.append(relative)
