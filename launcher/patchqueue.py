"""The pinned reference, our files and our patches to one source tree, and an edited tree back.

patches/common/files and patches/<benchmark>/files lie over the reference as they are; each patch
in patches/<benchmark> becomes one commit. It never applies a patch with fuzz, and never overwrites
a tree that holds work which patches/ does not.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from launcher import filetree, git, paths, reference
from launcher.core.benchmark import Benchmark
from launcher.errors import ConfigError
from launcher.filetree import File, Files

REFERENCE_REF = "refs/patches/reference"  # commit 0 of a tree
EXPORTED_REF = "refs/patches/exported"  # the last commit that patches/ holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """What a benchmark's patches are: one digest over all files, and one of each."""

    sha256: str
    files: Mapping[str, str]  # path below patches/ -> first 16 digits of its sha256


def digest(benchmark: Benchmark, patches: Path = paths.PATCHES) -> Digest:
    """Digest everything under patches/ that shapes a benchmark's tree: names, modes and bytes."""
    parts = [patches / "common" / "files", patches / benchmark.value]
    whole = hashlib.sha256()
    files = {}
    for part in parts:
        for name, file in filetree.read_folder(part).items():
            path = (part.relative_to(patches) / name).as_posix()
            each = hashlib.sha256(file.mode.encode() + b"\0" + file.content).hexdigest()
            whole.update(f"{path}\0{each}\n".encode())
            files[path] = each[:16]
    return Digest(sha256=whole.hexdigest(), files=files)


def overlay(benchmark: Benchmark, patches: Path = paths.PATCHES) -> dict[str, File]:
    """Return our own files for a benchmark, keyed by their path in the tree."""
    common = common_overlay(patches)
    own = filetree.read_folder(patches / benchmark.value / "files")
    if twice := sorted(common.keys() & own.keys()):
        raise ConfigError(
            f"patches/{benchmark.value}/files/{twice[0]} is also in patches/common/files; "
            "keep one of the two."
        )
    return common | own


def common_overlay(patches: Path = paths.PATCHES) -> dict[str, File]:
    """Return our own files that lie over both trees."""
    return filetree.read_folder(patches / "common" / "files")


def series(benchmark: Benchmark, patches: Path = paths.PATCHES) -> tuple[Path, ...]:
    """Return a benchmark's patches in order.

    Raises ConfigError where the file `series` and the patches beside it disagree.
    """
    folder = patches / benchmark.value
    found = sorted(path.name for path in folder.glob("*.patch"))
    listing = folder / "series"
    listed = listing.read_text(encoding="utf-8").split() if listing.is_file() else []
    if listed != found:
        odd = sorted(set(found) ^ set(listed)) or listed
        raise ConfigError(
            f"{listing}: {odd[0]} is out of step with the patches beside it; "
            f"run make patches TASK={benchmark.value}."
        )
    return tuple(folder / name for name in listed)


def materialise_overlay(
    benchmark: Benchmark, destination: Path, *, patches: Path = paths.PATCHES
) -> str:
    """Write our own files alone, without the reference, and return git's id of that tree.

    Enough to train with our implementation; patches on reference files have nothing to apply to.
    A destination that already holds the tree is left untouched.
    """
    files = overlay(benchmark, patches)
    if not files:
        raise ConfigError(
            f"patches/{benchmark.value}/files is empty; restore it with git checkout."
        )
    _refuse_checkout(destination, benchmark)
    wanted = filetree.tree_id(files)
    if filetree.tree_id(filetree.read_folder(destination)) != wanted:
        with _built_aside(destination) as aside:
            filetree.write_folder(files, aside)
    return wanted


def materialise(
    benchmark: Benchmark,
    destination: Path,
    *,
    place: str | None = None,
    patches: Path = paths.PATCHES,
    pin: reference.Pin | None = None,
) -> str:
    """Write a full tree as a git checkout and return git's id of its files.

    Commit 0 is the verified reference, then our files, then one commit per patch. Raises
    ConfigError naming the patch that does not apply, or the tree that holds unexported work.
    """
    pin = pin or reference.load()
    _refuse_unexported(destination, benchmark)
    base = reference.obtain(benchmark, place, pin=pin)
    ours = overlay(benchmark, patches)
    if both := sorted(base.keys() & ours.keys()):
        raise ConfigError(
            f"patches/{benchmark.value}/files/{both[0]} is a reference file; "
            "change it by a patch instead."
        )
    queue = series(benchmark, patches)
    with _built_aside(destination) as aside:
        git.initialise(aside)
        subtree = pin.subtrees[benchmark]
        _commit(aside, base, f"Reference: {subtree.path} of {pin.commit} ({pin.tag})")
        git.git(aside, "update-ref", REFERENCE_REF, "HEAD")
        if ours:
            _commit(aside, ours, "Overlay: patches/common/files and patches/*/files")
        for patch in queue:
            _apply(aside, patch)
        git.git(aside, "update-ref", EXPORTED_REF, "HEAD")
        return git.text(aside, "rev-parse", "HEAD^{tree}")


def _commit(tree: Path, files: Files, subject: str) -> None:
    filetree.write_folder(files, tree)
    git.git(tree, "add", "--all", "--force")
    git.git(tree, "commit", "--quiet", "--no-verify", "--allow-empty", f"--message={subject}")


def _apply(tree: Path, patch: Path) -> None:
    am = ("am", "--quiet", "--keep-non-patch", "--keep-cr", "--committer-date-is-author-date")
    try:
        git.git(tree, *am, "--no-3way", str(patch.resolve()))
    except git.GitError as error:
        said = next((line for line in str(error).splitlines() if "error:" in line), str(error))
        raise ConfigError(
            f"{patch} does not apply: {said.removeprefix('error: ')}; "
            "mend it in a tree and export it again."
        ) from error


def _refuse_checkout(destination: Path, benchmark: Benchmark) -> None:
    if (destination / ".git").exists():
        raise ConfigError(
            f"{destination} is a full tree of make tree TASK={benchmark.value}; choose another "
            "folder for the overlay alone."
        )


def _refuse_unexported(destination: Path, benchmark: Benchmark) -> None:
    """Let nothing be lost: only what patches/ holds, or nothing at all, may be replaced."""
    if not destination.exists() or not any(destination.iterdir()):
        return
    remedy = f"run make patches TASK={benchmark.value} to keep it, or delete the folder"
    if not (destination / ".git").exists():
        raise ConfigError(f"{destination} is not a tree of ours; {remedy.rpartition(', or ')[2]}.")
    if changed := git.text(destination, "status", "--porcelain").splitlines():
        raise ConfigError(
            f"{destination} holds uncommitted work ({changed[0].strip()}); commit it and {remedy}."
        )
    if git.text(destination, "rev-parse", "HEAD") != _exported(destination):
        raise ConfigError(f"{destination} holds commits that patches/ does not; {remedy}.")


def _exported(tree: Path) -> str:
    try:
        return git.text(tree, "rev-parse", "--verify", EXPORTED_REF)
    except git.GitError as error:
        raise ConfigError(
            f"{tree} was not made by make tree; delete the folder and make it again."
        ) from error


@contextmanager
def _built_aside(destination: Path) -> Iterator[Path]:
    """Give a fresh folder that takes the destination's place only when all went well."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".making-") as made:
        aside = Path(made) / "tree"
        aside.mkdir()
        yield aside
        if destination.exists():
            destination.rename(Path(made) / "replaced")
        aside.rename(destination)
