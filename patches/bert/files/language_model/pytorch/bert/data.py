"""Packed rows on disk to batches on the device: in random order, each row once, read ahead.

Only whole rows are read, through memory maps, and nothing is decoded. It decides which rows make
the n-th global batch from the seed alone, so that the number of accelerators does not change it.
"""

import itertools
import json
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bert.attention import Segments
from bert.config import Form
from bert.model import Batch
from bert.packing import RowError, RowStore, sizes, unpack
from torch import Tensor

from pytorch_common.failure import RunError

READ_AHEAD = 4  # batches


class Permutation:
    """A random order of 0 .. size - 1 that needs no memory: a Feistel network that walks cycles.

    Four rounds of a keyed hash on halves of the smallest even number of bits that hold `size`;
    a value that falls outside is sent through again, so every number comes up exactly once.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.half = np.uint64(max(1, -(-(size - 1).bit_length() // 2)))
        self.mask = np.uint64((1 << int(self.half)) - 1)
        self.keys = np.random.default_rng(seed).integers(1 << 63, size=4, dtype=np.uint64)

    def __call__(self, at: np.ndarray) -> np.ndarray:
        """Return the numbers that stand at these places."""
        values = self._rounds(at.astype(np.uint64))
        while (outside := values >= self.size).any():
            values[outside] = self._rounds(values[outside])
        return values.astype(np.int64)

    def _rounds(self, values: np.ndarray) -> np.ndarray:
        left, right = values >> self.half, values & self.mask
        for key in self.keys:
            left, right = right, left ^ (_mix(right + key) & self.mask)
        return (left << self.half) | right


def _mix(x: np.ndarray) -> np.ndarray:
    """Scatter the bits of 64-bit words (the finaliser of splitmix64; Steele et al., 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def training_rows(
    total: int, seed: int, *, rows: int, rank: int, ranks: int
) -> Iterator[np.ndarray]:
    """Return the row numbers of one rank's micro-batches, for ever, epoch by epoch.

    A global batch of `rows * ranks * accumulation` rows is the same for any split of it. What does
    not fill a last micro-batch of an epoch is left out of that epoch.
    """
    span = rows * ranks
    if span > total:
        raise RunError(
            f"the training data has {total} rows and one batch takes {span}; prepare more data."
        )
    return _training_rows(total, seed, rows=rows, start=rank * rows, span=span)


def _training_rows(
    total: int, seed: int, *, rows: int, start: int, span: int
) -> Iterator[np.ndarray]:
    for epoch in itertools.count():
        order = Permutation(total, seed * 1_000_003 + epoch)
        for first in range(start, total // span * span, span):
            yield order(np.arange(first, first + rows))


def collate(rows: np.ndarray, form: Form = Form.PACKED) -> Batch:
    """Lay the sequences of some rows out as a batch in host memory."""
    if form is not Form.PACKED:
        rows = unpack(rows)
    length, depth, capacity = sizes(rows.dtype)
    count = len(rows)
    lengths = rows["lengths"].astype(np.int64)  # [rows, depth]
    ends = lengths.cumsum(1)
    columns = np.arange(length)
    numbers = (columns[None, :, None] >= ends[:, None, :]).sum(2)  # [rows, length]; depth = padding
    starts = np.concatenate([np.zeros((count, 1), np.int64), ends], axis=1)  # [rows, depth + 1]
    positions = columns - np.take_along_axis(starts, numbers, 1)
    firsts = np.concatenate([rows["first_segments"], np.full((count, 1), length)], axis=1)
    types = positions >= np.take_along_axis(firsts, numbers, 1)
    at_row = np.arange(count)[:, None] * length
    masked = np.arange(capacity) < rows["masked"].sum(1, dtype=np.int64)[:, None]
    batch = Batch(
        tokens=_flat(rows["tokens"]),
        positions=_flat(positions),
        token_types=_flat(types),
        segments=Segments(
            numbers=torch.from_numpy(numbers), bounds=_bounds(lengths, length, padding=True)
        ),
        masked_at=_flat(rows["masked_positions"] + at_row),
        masked_ids=_flat(rows["masked_ids"]),
        masked_weights=_flat(masked).float(),
        first_at=_flat(np.minimum(starts[:, :depth], length - 1) + at_row),
        next_is_random=_flat(rows["next_is_random"]),
        sequence_weights=_flat(lengths > 0).float(),
    )
    return _without_padding(batch, lengths) if form is Form.UNPADDED else batch


def _flat(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array).astype(np.int64).reshape(-1))


def _bounds(lengths: np.ndarray, length: int, *, padding: bool) -> Tensor:
    """Return cumulative lengths of all segments: depth (+ 1 for padding) a row, empty ones too."""
    if padding:
        lengths = np.concatenate([lengths, length - lengths.sum(1, keepdims=True)], axis=1)
    return torch.from_numpy(np.concatenate([[0], lengths.ravel().cumsum()]).astype(np.int32))


def _without_padding(batch: Batch, lengths: np.ndarray) -> Batch:
    """Drop the padding tokens; shapes now depend on the data."""
    depth = lengths.shape[1]
    numbers = batch.segments.numbers
    there = numbers.flatten() < depth
    new_place = there.cumsum(0) - 1
    present = there.nonzero()[:, 0]
    places = batch.masked_weights > 0
    return replace(
        batch,
        tokens=batch.tokens[present],
        positions=batch.positions[present],
        token_types=batch.token_types[present],
        segments=Segments(
            numbers=numbers,
            bounds=_bounds(lengths, numbers.shape[1], padding=False),
            present=present,
        ),
        masked_at=new_place[batch.masked_at[places]],
        masked_ids=batch.masked_ids[places],
        masked_weights=batch.masked_weights[places],
        first_at=new_place[batch.first_at],
    )


def map_batch(batch: Batch, function: Callable[[Tensor], Tensor]) -> Batch:
    """Apply a function to every tensor of a batch."""

    def mapped(of: Batch | Segments) -> dict[str, Any]:
        values = {field.name: getattr(of, field.name) for field in fields(of)}
        return {n: function(v) if isinstance(v, Tensor) else v for n, v in values.items()}

    segments = Segments(**mapped(batch.segments))
    return Batch(**mapped(batch) | {"segments": segments})


def tensors(batch: Batch) -> list[Tensor]:
    """List every tensor of a batch, always in the same order."""
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_batch(batch, note)
    return found


class Batches:
    """Batches of one rank in host memory (pinned for a GPU), made ahead by a thread of its own."""

    def __init__(
        self,
        store: RowStore,
        numbers: Iterator[np.ndarray],
        *,
        form: Form,
        vocab_size: int,
        device: torch.device,
    ) -> None:
        self._make = (store, numbers, form, vocab_size, device)
        self._ready: queue.Queue[tuple[Batch, int] | Exception] = queue.Queue(READ_AHEAD)
        threading.Thread(target=self._work, daemon=True).start()

    def __next__(self) -> tuple[Batch, int]:
        """Return the next batch and how many sequences it holds. Raises what the thread met."""
        made = self._ready.get()
        if isinstance(made, Exception):
            raise made
        return made

    def _work(self) -> None:
        store, numbers, form, vocab_size, device = self._make
        pinned = device.type == "cuda"
        if pinned:
            torch.cuda.set_device(device)  # a thread starts on GPU 0 and would pin its memory there
        try:
            for chosen in numbers:
                rows = store.take(chosen)
                check_vocabulary(rows, vocab_size, store)
                batch = collate(rows, form)
                if pinned:
                    batch = map_batch(batch, Tensor.pin_memory)
                self._ready.put((batch, int(np.count_nonzero(rows["lengths"]))))
        except (RunError, RowError, OSError) as error:
            self._ready.put(error)


def check_vocabulary(rows: np.ndarray, vocab_size: int, store: RowStore) -> None:
    """Raise RunError when a token is not in the model's vocabulary."""
    largest = max(int(rows["tokens"].max()), int(rows["masked_ids"].max()))
    if largest >= vocab_size:
        raise RunError(
            f"{store.paths[0].parent}: token {largest} is of another vocabulary, the model's has"
            f" {vocab_size}; prepare the data with the model's vocabulary."
        )


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Copy a batch to a device; from pinned memory without waiting for it."""
    return map_batch(batch, lambda tensor: tensor.to(device, non_blocking=True))


def open_rows(folder: Path, *, sequences_per_row: int, length: int) -> RowStore:
    """Open one split and check that it is what the configuration says. Raises RunError."""
    try:
        store = RowStore(folder)
    except RowError as error:
        raise RunError(f"{error}.") from error
    found, depth, _ = sizes(store.dtype)
    if found != length:
        raise RunError(
            f"{store.paths[0]}: rows have {found} tokens, but hyperparameters.max_sequence_length"
            f" is {length}; prepare the data for that length."
        )
    if (depth == 1) != (sequences_per_row == 1):
        raise RunError(
            f"{store.paths[0]}: rows hold up to {depth} sequences, but training.sequences_per_row"
            f" is {sequences_per_row}; use 1 for unpacked rows and 2 for packed ones."
        )
    return store


def samples_by_manifest(data: Path) -> dict[str, int]:
    """Return how many sequences `dataset.json` promises for each split. Raises RunError."""
    path = data / "dataset.json"
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))["manifest"]["splits"]
        return {split["name"]: int(split["samples"]) for split in splits}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: is no data manifest ({error}); prepare the data again.") from error
