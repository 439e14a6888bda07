"""The modified source of a response against its plan, its patches and the pinned reference.

Folders to claims. Patches are applied in memory by our own strict reader; nothing of the package is
executed, and no other program gets to see it.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launcher import filetree, package, patchqueue, reference, runset
from launcher.core.benchmark import Benchmark
from launcher.core.plan import Plan
from launcher.errors import ConfigError, LauncherError
from launcher.verify import patchtext
from launcher.verify.claims import Claim, Place

Contents = Mapping[str, bytes]
MAX_BYTES = 256 << 20  # of a source tree, which is read whole; ours have 3 MiB


def examine(
    layout: package.Layout, benchmark: Benchmark, plan: Plan | None, place: str | None
) -> list[Claim]:
    """Return what can be said about one benchmark's source.

    `place` is where the reference is, as `--reference` takes it; None: it is not at hand.
    """
    where = Place(where=f"source of {benchmark.value}")
    trees = layout.source(benchmark)
    if len(trees) != 1:
        return [where.differs("source", f"there are {len(trees)} source trees; one is asked for")]
    patches = layout.root / package.PATCHES
    try:
        if sum(path.stat().st_size for _, path in package.files(trees[0])) > MAX_BYTES:
            text = f"the source tree holds more than {MAX_BYTES >> 20} MiB; no source does"
            return [where.differs("source", text)]
        files = filetree.read_folder(trees[0])
        claims = _planned(where, benchmark, plan, files, patches)
        return [*claims, *_against_reference(where, benchmark, place, files, patches)]
    except (LauncherError, OSError, ValueError) as error:
        return [where.differs("source", str(error))]


def _planned(
    where: Place, benchmark: Benchmark, plan: Plan | None, files: filetree.Files, patches: Path
) -> list[Claim]:
    """Hold tree and patches against the ids that the runs recorded."""
    labels = runset.image_labels(plan) if plan else {}
    stated: Mapping[str, Any] = plan.source if plan else {}
    tree = stated.get("tree", labels.get("tree"))
    digest = stated.get("patches_sha256", labels.get("patches"))
    return [
        _id(where, "tree", tree, filetree.tree_id(files)),
        _id(where, "patches", digest, patchqueue.digest(benchmark, patches).sha256),
    ]


def _id(where: Place, name: str, stated: object, found: str) -> Claim:
    rule = f"source.{name}"
    if stated is None:
        return where.cannot_tell(rule, f"the plan does not name it; in the package it is {found}")
    if stated == found:
        return where.agrees(rule, f"{found}, as the plan has it")
    return where.differs(rule, f"the runs used {stated}; the package holds {found}")


def _against_reference(
    where: Place, benchmark: Benchmark, place: str | None, files: filetree.Files, patches: Path
) -> list[Claim]:
    if place is None:
        return [where.cannot_tell("source.diff", "no reference at hand; give --reference")]
    try:
        base = reference.obtain(benchmark, place)
    except ConfigError as error:
        return [where.cannot_tell("source.diff", f"the reference cannot be used: {error}")]
    before = {name: file.content for name, file in base.items()}
    present = {name: file.content for name, file in files.items()}
    try:
        expected = _expected(before, benchmark, patches)
    except patchtext.PatchError as error:
        return [where.differs("source.patches-apply", f"the patches do not fit: {error}")]
    fine = "reference, files and patches make exactly the source handed over"
    problems = _differences(expected, present)
    return [
        *where.judge("source.patches-apply", problems, fine),
        where.agrees("source.diffstat", diffstat(before, present)),
    ]


def _expected(before: Contents, benchmark: Benchmark, patches: Path) -> dict[str, bytes]:
    """Make the source from the reference and the package's own patches, in memory."""
    ours = patchqueue.overlay(benchmark, patches)
    after = dict(before) | {name: file.content for name, file in ours.items()}
    for path in patchqueue.series(benchmark, patches):
        try:
            after = patchtext.apply(path.read_bytes(), after)
        except patchtext.PatchError as error:
            raise patchtext.PatchError(f"{path.name}: {error}") from error
    return after


def _differences(expected: Contents, present: Contents) -> list[str]:
    told = [f"{name} is missing" for name in sorted(expected.keys() - present.keys())]
    told += [f"{name} comes from no patch" for name in sorted(present.keys() - expected.keys())]
    told += [
        f"{name} is not what reference and patches make"
        for name in sorted(expected.keys() & present.keys())
        if expected[name] != present[name]
    ]
    return told


def diffstat(before: Contents, after: Contents) -> str:
    """Sum up what a tree changes: files changed, added and removed, with lines."""
    changed = [name for name in before.keys() & after.keys() if before[name] != after[name]]
    added = sorted(after.keys() - before.keys())
    removed = sorted(before.keys() - after.keys())
    lines = [_lines(before[name], after[name]) for name in sorted(changed)]
    names = ", ".join(
        f"{name} +{plus} -{minus}"
        for name, (plus, minus) in zip(sorted(changed), lines, strict=True)
    )
    new_lines = sum(after[name].count(b"\n") for name in added)
    told = f"{len(changed)} reference files changed" + (f" ({names})" if names else "")
    return f"{told}, {len(added)} files added ({new_lines} lines), {len(removed)} removed"


def _lines(before: bytes, after: bytes) -> tuple[int, int]:
    old, new = (text.decode("utf-8", "replace").splitlines() for text in (before, after))
    marks = [line[:1] for line in difflib.unified_diff(old, new, n=0, lineterm="")][2:]
    return marks.count("+"), marks.count("-")
