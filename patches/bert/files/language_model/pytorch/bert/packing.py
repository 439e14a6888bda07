"""Sequences to packed rows and back, in memory and on disk. It never tokenises or masks.

A row is a fixed-size record that holds up to three whole sequences, one after another:

    tokens            uint16[512]  token ids, sequence after sequence, then 0
    lengths           uint16[3]    tokens of each sequence with [CLS] and both [SEP]; 0 = absent
    first_segments    uint16[3]    of these, how many have token type 0: [CLS] a ... a [SEP]
    next_is_random    uint8[3]     next_sentence_labels: 0 = b follows a, 1 = b is random
    masked            uint8[3]     masked tokens of each sequence
    masked_positions  uint16[80]   where they are in the *row*, by sequence, then the order given
    masked_ids        uint16[80]   what stood there; unused entries of both are 0

Sequence k starts where sequence k - 1 ends; its positions restart at 0 and nothing attends across.
Absent sequences come last. `row_dtype(length, sequences)` gives the record for other sizes.
SEQUENCE, a row of one sequence, is also the unpacked (padded) form: what a converter fills from
one TFRecord example, what `pack` takes and `unpack` gives.

On disk: `rows-00000.npy`, `rows-00001.npy` ..., each a one-dimensional array of one record type,
read through memory maps. Needs numpy and nothing else.

    rows = pack(sequences, seed=1)         # SEQUENCE[n] -> ROW[about n / 2]
    write_rows(folder, shard=0, rows=rows)
    RowStore(folder).take([5, 3])          # ROW[2], copied out of the maps
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

LENGTH = 512  # --max_seq_length of every command in the README
DEPTH = 3  # sequences a row holds at most
MASK_RATE = 0.15  # masked_lm_prob, create_pretraining_data.py:42
SHARD = "rows-{:05d}.npy"


class RowError(ValueError):
    """Rows that are not what this format says; the message names file and fact."""


def masked_capacity(length: int, sequences: int) -> int:
    """Return how many masked tokens fit any row, rounded up to a multiple of 8.

    A sequence of l >= 4 tokens has max(1, round(0.15 l)) <= 0.15 l + 0.5 of them
    (create_pretraining_data.py:338-339), so a row has at most 0.15 length + 0.5 sequences:
    78 for three sequences in 512 tokens, hence 80.
    """
    most = math.floor(MASK_RATE * length + 0.5 * sequences)
    return -(-most // 8) * 8


def row_dtype(length: int = LENGTH, sequences: int = DEPTH) -> np.dtype:
    """Return the record type of rows of `length` tokens with at most `sequences` sequences."""
    capacity = masked_capacity(length, sequences)
    return np.dtype(
        [
            ("tokens", np.uint16, (length,)),
            ("lengths", np.uint16, (sequences,)),
            ("first_segments", np.uint16, (sequences,)),
            ("next_is_random", np.uint8, (sequences,)),
            ("masked", np.uint8, (sequences,)),
            ("masked_positions", np.uint16, (capacity,)),
            ("masked_ids", np.uint16, (capacity,)),
        ]
    )


ROW = row_dtype()
SEQUENCE = row_dtype(sequences=1)


def sizes(dtype: np.dtype) -> tuple[int, int, int]:
    """Return (length, sequences, masked capacity) of a record type that `row_dtype` made."""
    if not dtype.names or set(dtype.names) != set(ROW.names):
        raise RowError(f"records have the fields {dtype.names}, not {ROW.names}")
    length, depth = dtype["tokens"].shape[0], dtype["lengths"].shape[0]
    if dtype != row_dtype(length, depth):
        raise RowError(f"records of {length} tokens and {depth} sequences have another layout")
    return length, depth, dtype["masked_ids"].shape[0]


def plan_rows(
    lengths: np.ndarray, *, row_length: int = LENGTH, depth: int = DEPTH, seed: int = 0
) -> np.ndarray:
    """Say which sequences share a row: int64[rows, depth] of indices, -1 where absent.

    Non-negative least squares histogram packing (Krell et al., "Efficient Sequence Packing
    without Cross-contamination", 2021): it decides how many rows of each make-up there are from
    how many sequences have each length. Which of the sequences of a length goes where is random.
    """
    if lengths.size and not 0 < lengths.min() <= lengths.max() <= row_length:
        raise RowError(f"a sequence has {lengths.max()} tokens and a row holds {row_length}")
    rng = np.random.default_rng(seed)
    order = rng.permutation(lengths.size)
    order = order[np.argsort(lengths[order], kind="stable")]  # by length, random inside
    counts = np.bincount(lengths, minlength=row_length + 1).astype(np.int64)
    taken = np.cumsum(counts)  # sequences of a length are handed out from the end of their run
    planned = list(_make_ups(counts, depth, rng))
    rows = np.full((sum(times for _, times in planned), depth), -1, dtype=np.int64)
    at = 0
    for make_up, times in planned:
        for column, length in enumerate(make_up):
            rows[at : at + times, column] = order[taken[length] - times : taken[length]]
            taken[length] -= times
        at += times
    return rows


def _make_ups(
    counts: np.ndarray, depth: int, rng: np.random.Generator
) -> Iterator[tuple[tuple[int, ...], int]]:
    """Turn a histogram of lengths into (lengths that share a row, how many such rows)."""
    left = counts.copy()
    full = _full_make_ups(len(counts) - 1, depth)
    while True:  # rounding leaves some over: plan again with what is left
        before = left.sum()
        wanted = np.cumsum(_least_squares(full, left)) + rng.random()
        times_wanted = np.diff(np.floor(wanted), prepend=0).astype(np.int64)
        for which in np.flatnonzero(times_wanted):
            make_up = tuple(int(x) for x in full[which] if x)
            times = min(int(times_wanted[which]), *(left[x] // make_up.count(x) for x in make_up))
            if times:
                np.subtract.at(left, list(make_up), times)
                yield make_up, int(times)
        if left.sum() >= 0.8 * before:  # nothing left is a reason to stop too
            break
    for longest in range(len(counts) - 1, 0, -1):  # the rest, longest first, fullest row first
        while left[longest]:
            left[longest] -= 1
            partners = _partners(left, len(counts) - 1 - longest, depth - 1)
            np.subtract.at(left, list(partners), 1)
            yield (longest, *partners), 1


def _full_make_ups(row_length: int, depth: int) -> np.ndarray:
    """List every a >= b >= c with a + b + c = row_length, 0 for absent: int64[n, 3]."""
    a, b = np.meshgrid(np.arange(1, row_length + 1), np.arange(row_length + 1), indexing="ij")
    c = row_length - a - b
    keep = (a >= b) & (b >= c) & (c >= 0)
    made = np.stack([a[keep], b[keep], c[keep]], axis=1)
    return made[np.count_nonzero(made, axis=1) <= depth]


def _least_squares(full: np.ndarray, counts: np.ndarray, steps: int = 300) -> np.ndarray:
    """Say how many rows of each make-up use up `counts` best: float[len(full)], none negative.

    Multiplicative updates (Lee and Seung, 2001) of min |w (A x - counts)|^2, where A says how often
    a make-up uses a length and w weighs each length by 1 / sqrt(count).
    """
    weight = 1.0 / (counts + 1.0)
    weight[0] = 0.0  # absent
    goal = (weight * counts)[full].sum(1)
    x = np.full(len(full), counts.sum() / (2.0 * len(full)))
    for _ in range(steps):
        used = np.bincount(full.ravel(), np.repeat(x, full.shape[1]), minlength=len(counts))
        x *= goal / ((weight * used)[full].sum(1) + 1e-12)
    return x


def _partners(left: np.ndarray, space: int, depth: int) -> tuple[int, ...]:
    """Choose up to `depth` (0, 1, 2) lengths that are left and fill `space` as far as possible."""
    there = left[: space + 1] > 0
    there[:1] = False
    if depth == 0 or not there.any():
        return ()
    largest = np.maximum.accumulate(np.where(there, np.arange(space + 1), 0))  # ... up to n
    if depth == 1:
        return (int(largest[space]),)
    b = np.flatnonzero(there)
    c = largest[np.minimum(space - b, np.where(left[b] > 1, b, b - 1))]
    best = int((b + c).argmax())
    return tuple(int(x) for x in (b[best], c[best]) if x)


def pack(sequences: np.ndarray, *, depth: int = DEPTH, seed: int = 0) -> np.ndarray:
    """Pack SEQUENCE records [n] into rows [about n / 2]; every sequence in exactly one row."""
    length, one, _ = sizes(sequences.dtype)
    if one != 1:
        raise RowError(f"pack takes rows of one sequence, not of {one}")
    plan = plan_rows(sequences["lengths"][:, 0], row_length=length, depth=depth, seed=seed)
    rows = np.zeros(len(plan), dtype=row_dtype(length, depth))
    for k in range(depth):
        here = np.flatnonzero(plan[:, k] >= 0)
        _place(rows, here, k, sequences[plan[here, k]])
    return rows


def _place(rows: np.ndarray, here: np.ndarray, k: int, sequences: np.ndarray) -> None:
    """Copy one sequence into each row of `here` as its k-th, behind what is there."""
    starts = rows["lengths"][here].sum(1, dtype=np.int64)
    filled = rows["masked"][here].sum(1, dtype=np.int64)
    for name in ("lengths", "first_segments", "next_is_random", "masked"):
        rows[name][here, k] = sequences[name][:, 0]
    width = sequences["tokens"].shape[1]
    row, column = np.nonzero(np.arange(width) < sequences["lengths"])
    rows["tokens"][here[row], starts[row] + column] = sequences["tokens"][row, column]
    slots = sequences["masked_ids"].shape[1]
    row, column = np.nonzero(np.arange(slots) < sequences["masked"])
    at = (here[row], filled[row] + column)
    rows["masked_positions"][at] = sequences["masked_positions"][row, column] + starts[row]
    rows["masked_ids"][at] = sequences["masked_ids"][row, column]


def unpack(rows: np.ndarray) -> np.ndarray:
    """Give every sequence of the rows its own record, row by row: ROW[n] -> SEQUENCE[~2 n]."""
    length, _, _ = sizes(rows.dtype)
    row, k = np.nonzero(rows["lengths"])  # sequences in row order
    out = np.zeros(len(row), dtype=row_dtype(length, 1))
    for name in ("lengths", "first_segments", "next_is_random", "masked"):
        out[name][:, 0] = rows[name][row, k]
    starts = (np.cumsum(rows["lengths"], 1, dtype=np.int64) - rows["lengths"])[row, k]
    filled = (np.cumsum(rows["masked"], 1, dtype=np.int64) - rows["masked"])[row, k]
    s, column = np.nonzero(np.arange(length) < out["lengths"])
    out["tokens"][s, column] = rows["tokens"][row[s], starts[s] + column]
    s, column = np.nonzero(np.arange(out["masked_ids"].shape[1]) < out["masked"])
    positions = rows["masked_positions"][row[s], filled[s] + column]
    out["masked_positions"][s, column] = positions - starts[s]
    out["masked_ids"][s, column] = rows["masked_ids"][row[s], filled[s] + column]
    return out


def check_rows(rows: np.ndarray, *, vocab_size: int, where: str = "rows") -> None:
    """Raise RowError when any record breaks what the module's docstring promises."""
    length, _, capacity = sizes(rows.dtype)
    lengths, masked = rows["lengths"].astype(np.int64), rows["masked"].astype(np.int64)
    used = lengths.sum(1)
    positions = rows["masked_positions"]
    there = np.arange(capacity) < masked.sum(1)[:, None]
    broken = {
        f"more than {length} tokens": used > length,
        f"more than {capacity} masked tokens": masked.sum(1) > capacity,
        "no sequence": used == 0,
        "a gap before a sequence": ((lengths[:, 1:] > 0) & (lengths[:, :-1] == 0)).any(1),
        "a first segment longer than its sequence": (rows["first_segments"] > lengths).any(1),
        "a next-sentence label other than 0 and 1": (rows["next_is_random"] > 1).any(1),
        "a sequence without masked tokens": ((lengths > 0) != (masked > 0)).any(1),
        "a masked position outside its tokens": (there & (positions >= used[:, None])).any(1),
        f"a token of another vocabulary, not below {vocab_size}": (
            rows["tokens"].max(1, initial=0) >= vocab_size
        )
        | (rows["masked_ids"].max(1, initial=0) >= vocab_size),
    }
    for fault, rows_with_it in broken.items():
        if rows_with_it.any():
            raise RowError(f"{where}: record {int(rows_with_it.argmax())} has {fault}")


def write_rows(folder: Path, *, shard: int, rows: np.ndarray) -> Path:
    """Write one shard and return its path."""
    sizes(rows.dtype)
    path = Path(folder) / SHARD.format(shard)
    np.save(path, rows, allow_pickle=False)
    return path


class RowStore:
    """All shards of a folder as one long array of rows, memory-mapped.

    `dtype`, `len()` and `count_sequences()` describe it; `take` copies rows out of it.
    """

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(Path(folder).glob("rows-*.npy"))
        if not self.paths:
            raise RowError(f"{folder}: there is no rows-00000.npy; prepare the data first")
        self.shards = [self._open(path) for path in self.paths]
        self.dtype = self.shards[0].dtype
        self.ends = np.cumsum([len(shard) for shard in self.shards])

    def _open(self, path: Path) -> np.ndarray:
        try:
            shard = np.load(path, mmap_mode="r", allow_pickle=False)
            sizes(shard.dtype)
        except ValueError as error:
            raise RowError(f"{path}: {error}; prepare this file again") from error
        if (first := getattr(self, "dtype", shard.dtype)) != shard.dtype:
            raise RowError(f"{path}: other sizes than {self.paths[0].name}: {first}")
        self.dtype = first
        return shard

    def __len__(self) -> int:
        """Count rows."""
        return int(self.ends[-1])

    def count_sequences(self) -> int:
        """Count sequences; reads the whole store once."""
        return sum(int(np.count_nonzero(shard["lengths"])) for shard in self.shards)

    def take(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Copy the rows with these numbers, in this order."""
        indices = np.asarray(indices, dtype=np.int64)
        shard_of = np.searchsorted(self.ends, indices, side="right")
        starts = self.ends - [len(shard) for shard in self.shards]
        rows = np.empty(len(indices), dtype=self.dtype)
        for shard in np.unique(shard_of):
            here = shard_of == shard
            rows[here] = self.shards[shard][indices[here] - starts[shard]]
        return rows
