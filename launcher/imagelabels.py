"""What an image says about itself, and how that differs from this checkout.

Facts of a build <-> labels, as text. It never talks to an engine.
"""

import json
from collections.abc import Mapping

from launcher import patchqueue, reference
from launcher.core.benchmark import Benchmark
from launcher.imagecontext import ABSENT, Source

PREFIX = "gp2bm."
BENCHMARK = PREFIX + "benchmark"
IMPLEMENTATION = PREFIX + "implementation"  # "pytorch" or "reference"
PIN = PREFIX + "pin"  # commit of mlcommons/training
REFERENCE_TREE = PREFIX + "reference-tree"  # git's id of the subtree, or "absent"
OVERLAY_ONLY = PREFIX + "overlay-only"  # "true": the reference is left out; never for a result
TREE = PREFIX + "tree"  # git's id of /workspace/training
PATCHES = PREFIX + "patches"  # one digest over everything in patches/ that shapes the tree
PATCH_FILES = PREFIX + "patch-files"  # JSON: path below patches/ -> digest
BASE_IMAGE = PREFIX + "base-image"
BASE_DIGEST = PREFIX + "base-digest"
VERSIONS = PREFIX + "versions"  # JSON: torch, DALI, apex ... -> version or "absent"
INPUTS = PREFIX + "inputs"  # digest of all that the build read


def of_source(benchmark: Benchmark, implementation: str, source: Source) -> dict[str, str]:
    """Return the labels that say what source an image holds."""
    return {
        BENCHMARK: benchmark.value,
        IMPLEMENTATION: implementation,
        PIN: source.pin,
        REFERENCE_TREE: source.reference_tree,
        OVERLAY_ONLY: str(source.overlay_only).lower(),
        TREE: source.tree,
        PATCHES: source.patches.sha256,
        PATCH_FILES: json.dumps(dict(source.patches.files), sort_keys=True),
    }


def differences(
    labels: Mapping[str, str], benchmark: Benchmark, implementation: str, *, rehearsal: bool
) -> list[str]:
    """Say, each in a clause, how an image's source differs from what this checkout would build."""
    if BENCHMARK not in labels:
        return ["it carries no labels of this launcher"]
    pin = reference.load()
    found = [
        f"its {name} is {labels.get(key, ABSENT)}, not {wanted}"
        for name, key, wanted in (
            ("benchmark", BENCHMARK, benchmark.value),
            ("implementation", IMPLEMENTATION, implementation),
            ("pin", PIN, pin.commit),
        )
        if labels.get(key) != wanted
    ]
    tree = labels.get(REFERENCE_TREE, ABSENT)
    overlay_only = labels.get(OVERLAY_ONLY) == "true"
    if overlay_only and not rehearsal:
        found.append("it was built without the reference, which only a rehearsal may use")
    if not overlay_only and tree != pin.subtrees[benchmark].tree:
        found.append(f"its reference tree is {tree}, not {pin.subtrees[benchmark].tree}")
    return found + _changed_patches(labels, benchmark)


def _changed_patches(labels: Mapping[str, str], benchmark: Benchmark) -> list[str]:
    here = patchqueue.digest(benchmark)
    if labels.get(PATCHES) == here.sha256:
        return []
    there = _patch_files(labels.get(PATCH_FILES, "{}"))
    names = sorted(here.files.keys() | there.keys())
    kinds = {(True, True): "differs", (True, False): "is new", (False, True): "is gone"}
    return [
        f"patches/{name} {kinds[name in here.files, name in there]}"
        for name in names
        if here.files.get(name) != there.get(name)
    ]


def _patch_files(text: str) -> dict[str, str]:
    """Read the digests of an image's patch files; none where a stranger wrote something else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
