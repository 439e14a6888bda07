"""A checkout, a reference and a wheelhouse to the folder an image is built from, and its digest.

Everything that shapes an image lies in that folder or in its recipe, so equal digests mean an
equal image. It never talks to an engine.
"""

import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from launcher import inside, patchqueue, paths, reference
from launcher.core.benchmark import Benchmark
from launcher.errors import ConfigError
from launcher.filetree import sha256

ABSENT = inside.ABSENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Which source an image is made of."""

    pin: str  # commit of the reference
    reference_tree: str  # git's id of the reference subtree, or ABSENT in an overlay alone
    tree: str  # git's id of everything in /workspace/training
    patches: patchqueue.Digest

    @property
    def overlay_only(self) -> bool:
        """Say whether the reference is left out."""
        return self.reference_tree == ABSENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What an engine needs to build an image."""

    benchmark: Benchmark
    folder: Path
    source: Source

    @property
    def recipe(self) -> Path:
        """Return the Dockerfile."""
        return recipe(self.benchmark)


def recipe(benchmark: Benchmark) -> Path:
    """Return a benchmark's Dockerfile."""
    return paths.ROOT / f"Dockerfile.{benchmark.value}"


def fill(
    benchmark: Benchmark,
    *,
    place: str | None,
    overlay_only: bool,
    wheelhouse: Path | None,
    ca_bundle: Path | None,
) -> Context:
    """Write the build context below build/image and say what source it holds.

    Raises ConfigError for a wheelhouse or certificate file that is not there.
    """
    folder = paths.BUILD / "image" / benchmark.value
    if folder.exists():
        shutil.rmtree(folder)
    source = _write_tree(benchmark, folder / "tree", place, overlay_only=overlay_only)
    _write_packages(folder / "packages", wheelhouse, ca_bundle)
    return Context(benchmark=benchmark, folder=folder, source=source)


def _write_tree(
    benchmark: Benchmark, tree: Path, place: str | None, *, overlay_only: bool
) -> Source:
    pin = reference.load()
    if overlay_only:
        tree_id = patchqueue.materialise_overlay(benchmark, tree)
    else:
        tree_id = patchqueue.materialise(benchmark, tree, place=place, pin=pin)
        shutil.rmtree(tree / ".git")  # an image holds the files, patches/ holds their history
    return Source(
        pin=pin.commit,
        reference_tree=ABSENT if overlay_only else pin.subtrees[benchmark].tree,
        tree=tree_id,
        patches=patchqueue.digest(benchmark),
    )


def _write_packages(packages: Path, wheelhouse: Path | None, ca_bundle: Path | None) -> None:
    (packages / "wheels").mkdir(parents=True)
    shutil.copy(str(inside.__file__), packages / "inside.py")
    for lock in (inside.LOCK, inside.REFERENCE_LOCK):
        shutil.copy(paths.ROOT / lock, packages / lock)
    if wheelhouse is not None:
        wheels = sorted(wheelhouse.glob("*.whl"))
        if not wheels:
            raise ConfigError(f"--wheelhouse {wheelhouse} holds no wheels; fill it with pip wheel.")
        for wheel in wheels:
            _link(wheel, packages / "wheels" / wheel.name)
    if ca_bundle is not None:
        if not ca_bundle.is_file():
            raise ConfigError(f"--ca-bundle {ca_bundle} is no file; give a PEM file.")
        shutil.copy(ca_bundle, packages / "ca.pem")


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system
        shutil.copy(source, target)


def members(context: Context) -> Iterator[tuple[str, Path]]:
    """Yield every file of the context with the name that the recipe knows it by, in order."""
    yield context.recipe.name, context.recipe
    place = f"build/image/{context.benchmark.value}"
    for path in sorted(context.folder.rglob("*")):
        yield f"{place}/{path.relative_to(context.folder).as_posix()}", path


def pack(context: Context, into: IO[bytes]) -> None:
    """Write the context as a tar file that depends on nothing but names, modes and bytes."""
    with tarfile.open(fileobj=into, mode="w") as archive:
        for name, path in members(context):
            _add(archive, name, path)


def _add(archive: tarfile.TarFile, name: str, path: Path) -> None:
    member = tarfile.TarInfo(name)
    if path.is_dir():
        member.type, member.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(member)
        return
    member.size = path.stat().st_size
    member.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
    with path.open("rb") as stream:
        archive.addfile(member, stream)


def digest(context: Context, **settings: str) -> str:
    """Digest the context and the settings of a build: equal digests make equal images."""
    whole = hashlib.sha256(repr(sorted(settings.items())).encode())
    for name, path in members(context):
        if path.is_file():
            whole.update(f"{name}\0{path.stat().st_mode & 0o100}\0{sha256(path)}\n".encode())
    return whole.hexdigest()


def single(text: str) -> io.BytesIO:
    """Return a context that is one Dockerfile alone."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("Dockerfile")
        member.size = len(text.encode())
        archive.addfile(member, io.BytesIO(text.encode()))
    packed.seek(0)
    return packed
