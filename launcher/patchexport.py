"""An edited tree back to patches/: the same tree always gives the same bytes.

One rule splits the work: a path that the reference does not have is ours and goes to files/; a
path that it has becomes part of a patch. It never reads the folder's state, only its commits.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from launcher import filetree, git, patchqueue, paths, reference
from launcher.core.benchmark import Benchmark
from launcher.errors import ConfigError
from launcher.filetree import File

# Each flag removes one way in which the same commits could give other bytes.
_FORMAT = (
    "format-patch",
    "--quiet",
    "--zero-commit",  # no commit ids: they change with every rebase
    "--full-index",  # no abbreviated blob ids: their length depends on the repository
    "--no-signature",  # no version of git
    "--no-stat",  # no column widths
    "--no-numbered",  # no "1/3": the others change when one is added
    "--no-renames",  # a rename is a file of ours and a deletion
    "--diff-algorithm=myers",
    "--unified=3",
    "--no-ext-diff",
    "--no-textconv",
    "--no-attach",
    "--no-thread",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What a tree says patches/ should hold, keyed by path below patches/."""

    files: dict[str, File]
    patches: tuple[str, ...]


def export(
    benchmark: Benchmark, tree: Path, *, patches: Path = paths.PATCHES
) -> tuple[list[str], Exported]:
    """Write a tree's commits back to patches/ and return the names of what changed there.

    Raises ConfigError where the tree holds uncommitted work or a merge.
    """
    exported = read(benchmark, tree, patches=patches)
    changed = stale(benchmark, exported, patches)
    for name in changed:
        if name in exported.files:
            filetree.write_folder({name: exported.files[name]}, patches)
        else:
            (patches / name).unlink()
    git.git(tree, "update-ref", patchqueue.EXPORTED_REF, "HEAD")
    return changed, exported


def check(
    benchmark: Benchmark,
    place: str | None,
    *,
    patches: Path = paths.PATCHES,
    pin: reference.Pin | None = None,
) -> tuple[list[str], Exported]:
    """Apply patches/ to the reference, export, and return the names that do not come back equal."""
    with tempfile.TemporaryDirectory(prefix="launcher-patches-") as made:
        tree = Path(made) / benchmark.value
        patchqueue.materialise(benchmark, tree, place=place, patches=patches, pin=pin)
        exported = read(benchmark, tree, patches=patches)
    return stale(benchmark, exported, patches), exported


def stale(benchmark: Benchmark, exported: Exported, patches: Path) -> list[str]:
    """Name the files below patches/ that differ from what a tree exports."""
    present = _present(benchmark, patches)
    names = present.keys() | exported.files.keys()
    return sorted(name for name in names if present.get(name) != exported.files.get(name))


def read(benchmark: Benchmark, tree: Path, *, patches: Path = paths.PATCHES) -> Exported:
    """Return what a tree's commits make of patches/, without writing it."""
    base = _base(tree)
    if changed := git.text(tree, "status", "--porcelain").splitlines():
        raise ConfigError(f"{tree}: {changed[0].strip()} is not committed; commit it first.")
    if merge := git.text(tree, "rev-list", "--merges", "--max-count=1", f"{base}..HEAD"):
        raise ConfigError(f"{tree}: {merge} is a merge; rebase it into single commits.")
    common = _common_folders(patches)
    files = {
        _owner(name, benchmark, common) + name: file for name, file in _ours(tree, base).items()
    }
    queue = _patches(tree, base)
    folder = benchmark.value
    files |= {f"{folder}/{name}": File(content) for name, content in queue.items()}
    if queue:
        files[f"{folder}/series"] = File("".join(f"{name}\n" for name in queue).encode())
    return Exported(files=files, patches=tuple(queue))


def without_trailer(exported: Exported, benchmark: Benchmark) -> list[str]:
    """Name the patches that do not have an `Upstream:` trailer: a link, or N/A and why."""
    return [
        name
        for name in exported.patches
        if b"\nUpstream: " not in exported.files[f"{benchmark.value}/{name}"].content
    ]


def _base(tree: Path) -> str:
    try:
        return git.text(tree, "rev-parse", "--verify", patchqueue.REFERENCE_REF)
    except (git.GitError, OSError) as error:
        raise ConfigError(f"{tree} is no tree of ours; make it with make tree.") from error


def _present(benchmark: Benchmark, patches: Path) -> dict[str, File]:
    """Read what patches/ holds for a benchmark; hand-written notes beside it are not ours."""
    common = filetree.read_folder(patches / "common" / "files")
    own = filetree.read_folder(patches / benchmark.value)
    kept = {
        name: file
        for name, file in own.items()
        if name.startswith("files/") or name == "series" or name.endswith(".patch")
    }
    return {f"common/files/{name}": file for name, file in common.items()} | {
        f"{benchmark.value}/{name}": file for name, file in kept.items()
    }


def _common_folders(patches: Path) -> frozenset[str]:
    return frozenset(name.partition("/")[0] for name in patchqueue.common_overlay(patches))


def _owner(name: str, benchmark: Benchmark, common: frozenset[str]) -> str:
    return "common/files/" if name.partition("/")[0] in common else f"{benchmark.value}/files/"


def _changed(tree: Path, base: str, kinds: str) -> list[str]:
    diff = ("diff", "--name-only", "--no-renames", "-z", f"--diff-filter={kinds}")
    return [name for name in git.text(tree, *diff, base, "HEAD").split("\0") if name]


def _ours(tree: Path, base: str) -> dict[str, File]:
    """Read the files at HEAD that the reference does not have."""
    found = {}
    for name in _changed(tree, base, "A"):
        mode = git.text(tree, "ls-tree", "HEAD", "--", name).partition(" ")[0]
        found[name] = File(git.git(tree, "cat-file", "blob", f"HEAD:{name}"), mode == "100755")
    return found


def _patches(tree: Path, base: str) -> dict[str, bytes]:
    """Format the commits that touch reference files, and only that part of each."""
    touched = _changed(tree, base, "MDT")
    if not touched:
        return {}
    with tempfile.TemporaryDirectory(prefix="launcher-export-") as made:
        git.git(tree, *_FORMAT, f"--output-directory={made}", f"{base}..HEAD", "--", *touched)
        return {path.name: path.read_bytes() for path in sorted(Path(made).iterdir())}
