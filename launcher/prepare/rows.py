"""Masked sentence pairs -> rows of the packed form, and rows -> canonical bytes of their content.

The form itself belongs to the training program (`packing.py` of the BERT overlay): it is loaded
from there, so that what is written here and what is read there cannot drift apart.
"""

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt

from launcher.dataset import ContentDigest
from launcher.paths import PATCHES
from launcher.prepare.prose import Instance

Records = npt.NDArray[np.void]  # structured: ROW or SEQUENCE of packing.py
PACKING = PATCHES / "bert/files/language_model/pytorch/bert/packing.py"


@functools.cache
def packing() -> ModuleType:
    """Load the module that defines the packed form."""
    spec = importlib.util.spec_from_file_location("mlperf_bert_packing", PACKING)
    if spec is None or spec.loader is None:
        raise ImportError(f"{PACKING} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def from_instances(instances: Sequence[Instance], sequence_length: int) -> Records:
    """Return instances as SEQUENCE records (see `packing.py`)."""
    records = np.zeros(len(instances), dtype=packing().row_dtype(sequence_length, 1))
    for record, instance in zip(records, instances, strict=True):
        length, masked = len(instance.input_ids), len(instance.masked_ids)
        record["tokens"][:length] = instance.input_ids
        record["masked_positions"][:masked] = instance.masked_positions
        record["masked_ids"][:masked] = instance.masked_ids
        record["lengths"], record["masked"] = length, masked
        record["first_segments"] = instance.second_segment
        record["next_is_random"] = instance.random_next
    return records


def write(folder: Path, shard: int, sequences: Records, seed: int) -> tuple[Path, str]:
    """Pack sequences, write them as one file and return it with their content digest."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = packing().pack(sequences, seed=seed)
    return packing().write_rows(folder, shard=shard, rows=rows), content(rows)


def content(rows: Records) -> str:
    """Return the content digest of rows: each sequence is a sample, wherever it was packed.

    A sample's canonical bytes are its SEQUENCE record, little-endian and zero-padded.
    """
    digest = ContentDigest()
    for start in range(0, len(rows), 4096):  # bounds memory
        for sequence in packing().unpack(rows[start : start + 4096]):
            digest.add(sequence.tobytes())
    return digest.hex()
