"""A folder, or a tar archive, to files in memory, and to the ids that git would give them.

Only regular files count; caches of Python never do. It starts no process and follows no links.
"""

import hashlib
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import ConfigError

_CACHES = frozenset({"__pycache__", ".git", ".mypy_cache", ".pytest_cache", ".ruff_cache"})


@dataclass(frozen=True, slots=True)
class File:
    """One file's bytes and whether it may be executed: all that git keeps of it."""

    content: bytes
    executable: bool = False

    @property
    def mode(self) -> str:
        """Return the mode as git spells it."""
        return "100755" if self.executable else "100644"


Files = Mapping[str, File]  # keyed by path with forward slashes, relative to the tree's root


def read_folder(folder: Path) -> dict[str, File]:
    """Read every file below a folder; a folder that does not exist holds none."""
    found = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if _CACHES.intersection(relative.parts) or path.suffix == ".pyc":
            continue
        if path.is_symlink():
            raise ConfigError(f"{path} is a link, which a source tree may not hold; copy the file.")
        if path.is_file():
            executable = bool(path.stat().st_mode & 0o100)
            found[relative.as_posix()] = File(path.read_bytes(), executable)
    return found


def read_tar(archive: tarfile.TarFile, below: str) -> dict[str, File]:
    """Read the files of an archive that lie below a path, whatever single folder wraps them.

    Keys keep the path from `below` on: `training-4.0/image_classification/x` is found as
    `image_classification/x`.
    """
    found = {}
    for member in archive:
        inner = _inside(member.name, below)
        if inner is None or member.isdir():
            continue
        stream = archive.extractfile(member) if member.isfile() else None
        if stream is None:
            raise ConfigError(f"{member.name} in the archive is no regular file; make it again.")
        found[inner] = File(stream.read(), bool(member.mode & 0o100))
    return found


def _inside(name: str, below: str) -> str | None:
    name = name.removeprefix("./")
    _, _, unwrapped = name.partition("/")
    return next((path for path in (name, unwrapped) if path.startswith(below + "/")), None)


def write_folder(files: Files, folder: Path) -> None:
    """Write files below a folder, with git's two modes."""
    for name, file in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        path.chmod(0o755 if file.executable else 0o644)


def sha256(path: Path) -> str:
    """Hash a file of any size."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def blob_id(content: bytes) -> str:
    """Return git's id of one file's bytes."""
    return _object_id("blob", content)


def tree_id(files: Files) -> str:
    """Return git's id of the tree that these files make."""
    return listed_tree_id(
        {name: (file.mode, blob_id(file.content)) for name, file in files.items()}
    )


def listed_tree_id(listing: Mapping[str, tuple[str, str]]) -> str:
    """Return git's id of a tree from its listing, path -> (mode, blob id)."""
    entries: dict[str, tuple[str, str]] = {}
    folders: dict[str, dict[str, tuple[str, str]]] = {}
    for path, entry in listing.items():
        head, slash, rest = path.partition("/")
        if slash:
            folders.setdefault(head, {})[rest] = entry
        else:
            entries[head] = entry
    for name, below in folders.items():
        entries[name] = ("40000", listed_tree_id(below))
    # git sorts a folder as if its name ended in a slash (tree objects, base_name_compare)
    order = sorted(entries, key=lambda name: (name + "/" * (name in folders)).encode())
    body = b"".join(
        f"{entries[name][0]} {name}\0".encode() + bytes.fromhex(entries[name][1]) for name in order
    )
    return _object_id("tree", body)


def _object_id(kind: str, body: bytes) -> str:
    header = f"{kind} {len(body)}\0".encode()
    return hashlib.sha1(header + body, usedforsecurity=False).hexdigest()
