"""TensorFlow's checkpoint files to numpy arrays, one at a time, without TensorFlow.

`PREFIX.index` is a LevelDB table of protocol buffers that say where in `PREFIX.data-...` each
tensor lies. Both formats are open: leveldb/doc/table_format.md, tensorflow/core/protobuf/
{tensor_bundle,trackable_object_graph}.proto. It reads what a checkpoint of fp32 variables has, and
refuses compressed tables and sliced tensors by name. Every tensor's checksum is checked.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bert.crc32c import crc32c, masked

_MAGIC = 0xDB4775248B80FB57  # of a LevelDB table
_FOOTER_BYTES = 48
_TRAILER_BYTES = 5  # of a block: compression, checksum
_DTYPES = {1: np.dtype("<f4"), 2: np.dtype("<f8"), 3: np.dtype("<i4"), 9: np.dtype("<i8")}
_STRING = 7  # DT_STRING of tensorflow/core/framework/types.proto
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"

Fields = dict[int, list[int | bytes]]


class BundleError(ValueError):
    """A checkpoint that cannot be read; the message names the file and the fact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One tensor: where it lies and what it is."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int  # bytes
    checksum: int


class TensorBundle:
    """A checkpoint by its prefix, e.g. `.../model.ckpt-28252`."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        index = Path(f"{prefix}.index")
        try:
            records = dict(_table(index.read_bytes()))
            header = _message(records.pop(b""))
            self.shards = int(header.get(1, [1])[0])
            self.entries = {key.decode(): _entry(value) for key, value in records.items()}
        except OSError as error:
            raise BundleError(f"{index}: cannot be read ({error.strerror})") from error
        except (ValueError, KeyError, IndexError, struct.error) as error:
            raise BundleError(f"{index}: is not a TensorFlow checkpoint index ({error})") from error
        if header.get(2, [0])[0] != 0:
            raise BundleError(f"{index}: was written on a big-endian machine")

    def read(self, name: str) -> np.ndarray:
        """Return one tensor, checked; mapped from the file, not copied."""
        entry = self.entries[name]
        if entry.dtype not in _DTYPES:
            raise BundleError(
                f"{self.prefix}: {name} has the data type {entry.dtype}, not a number"
            )
        octets = self._octets(name, entry)
        return octets.view(_DTYPES[entry.dtype]).reshape(entry.shape)

    def names_of_variables(self) -> dict[str, str]:
        """Return variable name -> key. In a TF2 checkpoint keys are paths through objects."""
        if OBJECT_GRAPH not in self.entries:
            return {name: name for name in self.entries}
        return dict(_full_names(self._string(OBJECT_GRAPH)))

    def _octets(self, name: str, entry: Entry) -> np.ndarray:
        path = Path(f"{self.prefix}.data-{entry.shard:05d}-of-{self.shards:05d}")
        try:
            octets = np.memmap(path, np.uint8, "r", entry.offset, (entry.size,))
        except (OSError, ValueError) as error:
            raise BundleError(f"{path}: is missing or cut short before {name} ({error})") from error
        if entry.dtype != _STRING and masked(crc32c(octets)) != entry.checksum:
            raise BundleError(f"{path}: {name} is damaged: its checksum differs")
        return octets

    def _string(self, name: str) -> bytes:
        """Return a scalar string tensor: its length, a checksum of that, its bytes."""
        raw = self._octets(name, self.entries[name]).tobytes()
        length, at = _varint(raw, 0)
        return raw[at + 4 : at + 4 + length]


def _entry(value: bytes) -> Entry:
    """Read a BundleEntryProto."""
    fields = _message(value)
    if 7 in fields:  # noqa: PLR2004 - its slices
        raise ValueError("it holds partitioned tensors")
    dimensions = _message(_octets(fields.get(2, [b""])[0])).get(2, [])
    return Entry(
        dtype=_number(fields, 1),
        shape=tuple(_number(_message(_octets(dimension)), 1) for dimension in dimensions),
        shard=_number(fields, 3),
        offset=_number(fields, 4),
        size=_number(fields, 5),
        checksum=_number(fields, 6),
    )


def _full_names(graph: bytes) -> Iterator[tuple[str, str]]:
    """Yield (variable's name, checkpoint key) from a TrackableObjectGraph."""
    for node in _message(graph).get(1, []):
        for attribute in _message(_octets(node)).get(2, []):
            fields = _message(_octets(attribute))
            if 2 in fields and 3 in fields:  # noqa: PLR2004 - full_name, checkpoint_key
                yield _octets(fields[2][0]).decode(), _octets(fields[3][0]).decode()


def _number(fields: Fields, number: int) -> int:
    """Return an integer field; absent means 0, as everywhere in protocol buffers."""
    value = fields.get(number, [0])[0]
    if isinstance(value, bytes):
        raise ValueError(f"field {number} is no number")  # noqa: TRY004 - bad data, not bad code
    return value


def _octets(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a field is no message")  # noqa: TRY004 - bad data, not bad code
    return value


def _message(data: bytes) -> Fields:
    """Split a protocol buffer into its fields, undecoded."""
    fields: Fields = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        value: int | bytes
        if tag & 7 == 0:
            value, at = _varint(data, at)
        elif tag & 7 == 2:  # noqa: PLR2004 - length-delimited
            length, at = _varint(data, at)
            value, at = data[at : at + length], at + length
        elif tag & 7 == 5:  # noqa: PLR2004 - 32 bits
            (value,), at = struct.unpack_from("<I", data, at), at + 4
        else:
            raise ValueError(f"wire type {tag & 7}")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        octet = data[at]
        value |= (octet & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if octet < 0x80:  # noqa: PLR2004 - the last octet's top bit is clear
            return value, at


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield all (key, value) of a LevelDB table, in order."""
    footer = data[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
        raise ValueError("its last bytes are not a table's")
    _, at = _handle(footer, 0)  # the meta index
    place, _ = _handle(footer, at)
    for _, handle in _block(data, *place):
        (offset, size), _ = _handle(handle, 0)
        yield from _block(data, offset, size)


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return (offset, size), at


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the entries of one block; keys share prefixes with the key before."""
    block, trailer = data[offset : offset + size], data[offset + size :][:_TRAILER_BYTES]
    if trailer[0] != 0:
        raise ValueError("its blocks are compressed")
    if masked(crc32c(block + trailer[:1])) != struct.unpack("<I", trailer[1:])[0]:
        raise ValueError(f"the block at {offset} is damaged")
    (restarts,) = struct.unpack("<I", block[-4:])
    at, end, key = 0, len(block) - 4 * (restarts + 1), b""
    while at < end:
        shared, at = _varint(block, at)
        fresh, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + fresh]
        yield key, block[at + fresh : at + fresh + length]
        at += fresh + length
