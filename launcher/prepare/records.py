"""TFRecord files of the reference's BERT scripts -> SEQUENCE records of the packed form.

Every feature of every record is decoded and checked against what `create_pretraining_data.py`
writes; what the packed form leaves out (padding, weights) is proved to carry no information.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from launcher.prepare import tfrecord
from launcher.prepare.rows import Records, packing
from launcher.prepare.tfrecord import RecordError

BATCH = 512  # records decoded together
LONGEST_VARINT = 3  # bytes: values below 2**21
TOKENS = ("input_ids", "input_mask", "segment_ids")
MASKED = ("masked_lm_positions", "masked_lm_ids", "masked_lm_weights")
NAMES = (*TOKENS, *MASKED, "next_sentence_labels")
Columns = dict[str, npt.NDArray[np.int64]]  # [records, width of the feature]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What fixes the record type, and the bound of a token id."""

    sequence_length: int = 512
    max_predictions: int = 76
    vocabulary: int = 30522

    def width(self, name: str) -> int:
        """Return how many values a feature has."""
        if name in TOKENS:
            return self.sequence_length
        return self.max_predictions if name in MASKED else 1


def read(path: Path, sizes: Sizes) -> Iterator[Records]:
    """Yield the file's sequences in order, up to BATCH at a time.

    Raises RecordError naming file and record.
    """
    numbered = enumerate(tfrecord.read(path))
    while batch := list(itertools.islice(numbered, BATCH)):
        payloads = [record.payload for _, record in batch]
        try:
            yield sequences(columns(payloads, sizes), sizes)
        except RecordError as error:
            first, last = batch[0][0], batch[-1][0]
            raise RecordError(f"{path}: records {first}-{last}: {error}") from error


def columns(payloads: Sequence[bytes], sizes: Sizes) -> Columns:
    """Decode serialised examples feature by feature."""
    parts: dict[str, list[bytes]] = {name: [] for name in NAMES}
    for payload in payloads:
        found = tfrecord.lists(payload)
        for name in NAMES:
            if name.encode() not in found:
                raise RecordError(f"feature {name} is missing")
            parts[name].append(found[name.encode()])
    return {name: _decode(name, chunks, sizes.width(name)) for name, chunks in parts.items()}


def _decode(name: str, chunks: Sequence[bytes], width: int) -> npt.NDArray[np.int64]:
    data = np.frombuffer(b"".join(chunks), dtype=np.uint8)
    if name == "masked_lm_weights":
        if any(len(chunk) != 4 * width for chunk in chunks):
            raise RecordError(f"{name} has not {width} values")
        weights = data.view("<f4").reshape(-1, width)
        if not np.isin(weights, (0.0, 1.0)).all():
            raise RecordError(f"{name} has a value other than 0 and 1")
        return weights.astype(np.int64)
    ends = np.flatnonzero(data < tfrecord.CONTINUES)
    boundaries = np.cumsum([len(chunk) for chunk in chunks])
    expected = width * np.arange(1, len(chunks) + 1)
    if not np.array_equal(np.searchsorted(ends, boundaries), expected):
        raise RecordError(f"{name} has not {width} values")
    return _varints(name, data, ends).reshape(-1, width)


def _varints(
    name: str, data: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if lengths.max(initial=1) > LONGEST_VARINT:
        raise RecordError(f"{name} has a value that is negative or above {1 << 21}")
    values = (data[starts] & 0x7F).astype(np.int64)
    for byte in range(1, LONGEST_VARINT):
        longer = np.flatnonzero(lengths > byte)
        values[longer] |= (data[starts[longer] + byte] & 0x7F).astype(np.int64) << 7 * byte
    return values


def sequences(found: Columns, sizes: Sizes) -> Records:
    """Return decoded features as SEQUENCE records. Raises RecordError on what cannot be one."""
    lengths, masked = found["input_mask"].sum(1), found["masked_lm_weights"].sum(1)
    inside = np.arange(sizes.sequence_length) < lengths[:, None]
    used = np.arange(sizes.max_predictions) < masked[:, None]
    segments = found["segment_ids"]
    first = lengths - segments.sum(1)
    second = inside & (np.arange(sizes.sequence_length) >= first[:, None])
    _require("input_mask is not ones and then zeros", found["input_mask"] == inside)
    _require("segment_ids are not zeros, ones and then padding", segments == second)
    _require("a padded token is not 0", inside | (found["input_ids"] == 0))
    _require("masked_lm_weights are not ones and then zeros", found["masked_lm_weights"] == used)
    for name in MASKED[:2]:
        _require(f"{name} goes on behind its last weight", used | (found[name] == 0))
    positions = found["masked_lm_positions"]
    _require("a masked position lies behind the last token", positions < lengths[:, None])
    for name in ("input_ids", "masked_lm_ids"):
        _require(f"{name} is not below {sizes.vocabulary}", found[name] < sizes.vocabulary)
    _require("next_sentence_labels is not 0 or 1", found["next_sentence_labels"] <= 1)
    out = np.zeros(len(lengths), dtype=packing().row_dtype(sizes.sequence_length, 1))
    out["tokens"] = found["input_ids"]
    out["lengths"][:, 0], out["first_segments"][:, 0] = lengths, first
    out["next_is_random"] = found["next_sentence_labels"]
    out["masked"][:, 0] = masked
    out["masked_positions"][:, : sizes.max_predictions] = positions
    out["masked_ids"][:, : sizes.max_predictions] = found["masked_lm_ids"]
    return out


def _require(otherwise: str, holds: npt.NDArray[np.bool_]) -> None:
    if not holds.all():
        record = int(np.flatnonzero(~holds.all(axis=1))[0])
        raise RecordError(f"number {record} of these: {otherwise}")
