"""One part of Wikipedia, as text or as records -> one file of packed rows and its receipt.

Runs in a worker process with memory for one part; it writes below its staging folder only.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from launcher import dataset
from launcher.errors import ConfigError
from launcher.prepare import records, rows, scripts, tfrecord
from launcher.prepare.work import Receipt, Unit

GROUP = 65_536  # sequences packed together: bounds memory, costs under 0.1 % padding


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What every unit needs to know."""

    sizes: records.Sizes
    scripts: scripts.Scripts | None  # for text
    vocabulary: Path | None
    picked: int


def convert(conversion: Conversion, unit: Unit, staging: Path) -> Receipt:
    """Turn one part into one file of rows below the staging folder."""
    split, number, path = unit.arguments
    if conversion.scripts is not None:
        path = _records(conversion, split, path, staging)
    digest = dataset.ContentDigest()
    lengths = np.zeros(conversion.sizes.sequence_length + 1, dtype=np.int64)
    packed, masked = [], 0
    try:
        for group in _groups(records.read(path, conversion.sizes)):
            rows.add_content(digest, group)
            lengths += np.bincount(group["lengths"][:, 0], minlength=len(lengths))
            masked += int(group["masked"].sum())
            packed.append(rows.packing().pack(group, seed=number))
    except tfrecord.RecordError as error:
        raise ConfigError(f"{error}; download or make this file again.") from error
    folder = staging / split
    folder.mkdir()
    packing, made = rows.packing(), np.concatenate(packed)
    file = packing.write_rows(folder, shard=number, rows=made)
    samples = int(lengths.sum())
    return Receipt(
        files=(dataset.describe(staging, file, samples=samples),),
        samples=samples,
        content=digest.hex(),
        statistics={"rows": len(made), "masked": masked, "lengths": lengths.tolist()},
    )


def _records(conversion: Conversion, split: str, text: Path, staging: Path) -> Path:
    if conversion.scripts is None or conversion.vocabulary is None:
        raise ValueError("text needs scripts and a vocabulary")
    made = staging / "records"
    conversion.scripts.create_pretraining_data(text, made, conversion.vocabulary)
    if split == "eval":
        picked = staging / "picked"
        number = min(conversion.picked, sum(1 for _ in tfrecord.read(made)))
        conversion.scripts.pick_eval_samples(made, picked, number)
        shutil.move(picked, made)
    return made


def _groups(batches: Iterator[rows.Records]) -> Iterator[rows.Records]:
    held: list[rows.Records] = []
    for batch in batches:
        held.append(batch)
        if sum(map(len, held)) >= GROUP:
            yield np.concatenate(held)
            held = []
    if held:
        yield np.concatenate(held)
