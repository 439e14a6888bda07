"""A folder of TFRecord files -> what the plan of a reference run says about its data.

The reference reads nothing else. Names, counts and sizes are looked at, never contents: such data
is not attested, and the plan says so.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launcher.core.benchmark import Benchmark
from launcher.errors import ConfigError

# Pattern of each split and how many files it has; None where any number will do.
FORMS: Mapping[Benchmark, Mapping[str, tuple[str, int | None]]] = {
    Benchmark.RESNET: {
        "train": ("train-?????-of-01024", 1024),
        "validation": ("validation-?????-of-00128", 128),
    },
    Benchmark.BERT: {"train": ("train/*", None), "eval": ("eval/*", None)},
}


def describe(root: Path, benchmark: Benchmark) -> dict[str, Any]:
    """Return files and bytes of each split.

    Raises ConfigError when files are missing, saying how many of which.
    """
    splits = {}
    for split, (pattern, wanted) in FORMS[benchmark].items():
        found = [path for path in root.glob(pattern) if path.is_file()]
        if not found or (wanted and len(found) != wanted):
            raise ConfigError(
                f"{root}: {len(found)} files {pattern}, the reference's {benchmark.value} needs "
                f"{wanted or 'at least one'}; docs/reference.md says where they come from."
            )
        size = sum(path.stat().st_size for path in found)
        splits[split] = {"files": len(found), "bytes": size}
    return {"form": "tfrecords", "attested": False, "splits": splits}
