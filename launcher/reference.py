"""The pinned reference: from a URL, clone, archive or folder to the verified files of a subtree.

Every byte is hashed again to git's own ids before it is handed out. It never hands out a tree that
differs from the pin in one byte, and never trusts where the bytes came from.
"""

import io
import tarfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher import filetree, git, paths
from launcher.core.benchmark import Benchmark
from launcher.errors import ConfigError
from launcher.filetree import Files

PIN = paths.PATCHES / "reference.toml"
LISTING = paths.PATCHES / "reference.files"  # `git ls-tree -r` of the subtrees at the pin


@dataclass(frozen=True, slots=True, kw_only=True)
class Subtree:
    """The part of the reference that one benchmark uses."""

    path: str
    tree: str  # git's id of it
    files: Mapping[str, tuple[str, str]]  # path below it -> mode, blob id


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """Which reference this checkout patches."""

    url: str
    commit: str
    tag: str
    subtrees: Mapping[Benchmark, Subtree]


def load(path: Path = PIN, listing: Path = LISTING) -> Pin:
    """Read the pin and prove that its file listing makes its tree ids.

    Raises ConfigError naming the file and the key.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        listed = _parse_listing(listing.read_text(encoding="utf-8"))
        subtrees = {
            benchmark: _subtree(table["subtrees"][benchmark.value], listed)
            for benchmark in Benchmark
        }
        pin = Pin(url=table["url"], commit=table["commit"], tag=table["tag"], subtrees=subtrees)
    except (OSError, tomllib.TOMLDecodeError, ValueError) as error:
        raise ConfigError(f"{path}: {error}; restore it with git checkout.") from error
    except KeyError as error:
        raise ConfigError(f"{path}: {error.args[0]} is missing; add it.") from error
    for subtree in subtrees.values():
        if filetree.listed_tree_id(subtree.files) != subtree.tree:
            raise ConfigError(
                f"{listing}: the files below {subtree.path} do not make tree {subtree.tree} "
                f"of {path.name}; write it again with git ls-tree -r {pin.commit}."
            )
    return pin


def _parse_listing(text: str) -> dict[str, tuple[str, str]]:
    listed = {}
    for line in text.splitlines():
        facts, _, name = line.partition("\t")
        mode, _, blob = facts.split(" ")
        listed[name] = (mode, blob)
    return listed


def _subtree(table: Mapping[str, str], listed: Mapping[str, tuple[str, str]]) -> Subtree:
    prefix = table["path"] + "/"
    below = {
        name.removeprefix(prefix): entry
        for name, entry in listed.items()
        if name.startswith(prefix)
    }
    return Subtree(path=table["path"], tree=table["tree"], files=below)


def obtain(
    benchmark: Benchmark,
    reference: str | None = None,
    *,
    pin: Pin | None = None,
    cache: Path = paths.BUILD / "reference",
) -> dict[str, filetree.File]:
    """Return a benchmark's verified reference files, keyed by path in mlcommons/training.

    `reference` is a URL, a bare or working clone, a git archive, or an unpacked one; without it
    the pin's URL is fetched into `cache`. Raises ConfigError naming the first file that differs.
    """
    pin = pin or load()
    place = reference or pin.url
    files = _read(place, benchmark, pin, cache)
    verify(files, pin.subtrees[benchmark], place)
    return files


def _read(place: str, benchmark: Benchmark, pin: Pin, cache: Path) -> dict[str, filetree.File]:
    path = Path(place).expanduser()
    subtree = pin.subtrees[benchmark]
    if path.is_file():
        return _read_archive(path, subtree)
    if path.is_dir():
        return (
            _read_clone(path, subtree, pin)
            if git.is_repository(path)
            else _read_plain(path, subtree)
        )
    if "://" not in place and "@" not in place:
        raise ConfigError(
            f"--reference {place} does not exist; give a clone of {pin.url}, "
            f"a git archive of {pin.tag}, or a URL."
        )
    below = tuple(pin.subtrees[each].path for each in Benchmark)
    git.fetch_sparsely(place, pin.commit, cache, below)
    return _read_clone(cache, subtree, pin)


def _read_archive(path: Path, subtree: Subtree) -> dict[str, filetree.File]:
    try:
        with tarfile.open(path) as archive:
            return filetree.read_tar(archive, subtree.path)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ConfigError(
            f"--reference {path}: {error}; make it with git archive --format=tar."
        ) from error


def _read_plain(path: Path, subtree: Subtree) -> dict[str, filetree.File]:
    files = filetree.read_folder(path / subtree.path)
    return {f"{subtree.path}/{name}": file for name, file in files.items()}


def _read_clone(path: Path, subtree: Subtree, pin: Pin) -> dict[str, filetree.File]:
    """Read a subtree by its tree id: the commit itself may be missing, or another checked out."""
    try:
        packed = git.git(path, "archive", "--format=tar", f"--prefix={subtree.path}/", subtree.tree)
    except git.GitError as error:
        raise ConfigError(
            f"--reference {path} does not hold {subtree.path} of commit {pin.commit} "
            f"({str(error).splitlines()[-1]}); run git fetch {pin.url} tag {pin.tag} there."
        ) from error
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        return filetree.read_tar(archive, subtree.path)


def verify(files: Files, subtree: Subtree, place: str) -> None:
    """Compare files with the pin, one by one.

    Raises ConfigError naming the first file that is missing, altered or too many.
    """
    expected = {f"{subtree.path}/{name}": entry for name, entry in subtree.files.items()}
    if not files:
        raise ConfigError(f"--reference {place} holds no {subtree.path}; use the whole reference.")
    for name, (mode, blob) in expected.items():
        if name not in files:
            raise ConfigError(f"--reference {place}: {name} is missing; get the reference again.")
        found = filetree.blob_id(files[name].content)
        if found != blob:
            raise ConfigError(
                f"--reference {place}: {name} is altered (blob {found}, pinned {blob}); "
                "get the reference again."
            )
        if files[name].mode != mode:
            raise ConfigError(
                f"--reference {place}: {name} has mode {files[name].mode}, not {mode}; "
                "keep file modes when copying."
            )
    if extra := sorted(files.keys() - expected.keys()):
        raise ConfigError(f"--reference {place}: {extra[0]} is not in the reference; remove it.")
