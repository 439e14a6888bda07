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


GROUP = 4096  # rows handled at once: bounds memory


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
    """Return the content digest of rows: each sequence is a sample, wherever it was packed."""
    digest = ContentDigest()
    for start in range(0, len(rows), GROUP):
        add_content(digest, packing().unpack(rows[start : start + GROUP]))
    return digest.hex()


def add_content(digest: ContentDigest, sequences: Records) -> None:
    """Add SEQUENCE records; a sample's canonical bytes are its record, zero-padded."""
    raw, size = sequences.tobytes(), sequences.dtype.itemsize
    for start in range(0, len(raw), size):
        digest.add(raw[start : start + size])


def open_rows(path: Path) -> Records:
    """Map a file of rows. Raises ValueError when it is none."""
    mapped: Records = np.load(path, mmap_mode="r", allow_pickle=False)
    packing().sizes(mapped.dtype)
    return mapped
