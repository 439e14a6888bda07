"""TFRecord files -> records, and tf.train.Example bytes -> features. TensorFlow is not needed.

A record is: length (uint64, little-endian), masked crc32c of these 8 bytes, payload, masked crc32c
of the payload (TensorFlow `core/lib/io/record_writer.h`). Both checksums are checked always. An
Example is a protocol buffer (`core/example/{example,feature}.proto`): a map of names to lists.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import google_crc32c

HEADER = struct.Struct("<QI")
FOOTER = struct.Struct("<I")
LONGEST_RECORD = 1 << 31
_MASK_DELTA = 0xA282EAD8
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
CONTINUES = 0x80


class RecordError(ValueError):
    """A file that is not what the format says; the message names file and offset."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record: where its payload begins in the file, and the payload."""

    offset: int
    payload: bytes


def masked_crc(data: bytes) -> int:
    """Return the masked crc32c that TFRecord files store."""
    crc: int = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def is_tfrecord(path: Path) -> bool:
    """Say whether a file begins as a TFRecord file does."""
    with path.open("rb") as file:
        header = file.read(HEADER.size)
    return len(header) == HEADER.size and HEADER.unpack(header)[1] == masked_crc(header[:8])


def read(path: Path) -> Iterator[Record]:
    """Yield the records of a file, checksums verified.

    Raises RecordError naming the offset of the first record that is cut off or altered.
    """
    with path.open("rb", buffering=1 << 20) as file:
        offset = 0
        while header := file.read(HEADER.size):
            payload = _payload(file, header, path, offset)
            yield Record(offset + HEADER.size, payload)
            offset += HEADER.size + len(payload) + FOOTER.size


def _payload(file: BinaryIO, header: bytes, path: Path, offset: int) -> bytes:
    if len(header) < HEADER.size:
        raise RecordError(f"{path}: is cut off in the record at byte {offset}")
    length, length_crc = HEADER.unpack(header)
    if masked_crc(header[:8]) != length_crc or length > LONGEST_RECORD:
        raise RecordError(f"{path}: the record header at byte {offset} fails its checksum")
    payload, footer = file.read(length), file.read(FOOTER.size)
    if len(payload) < length or len(footer) < FOOTER.size:
        raise RecordError(f"{path}: is cut off in the record at byte {offset}")
    if masked_crc(payload) != FOOTER.unpack(footer)[0]:
        raise RecordError(f"{path}: the record at byte {offset} fails its checksum")
    return payload


def frame(payload: bytes) -> bytes:
    """Return a payload as one record."""
    length = struct.pack("<Q", len(payload))
    checksum = FOOTER.pack(masked_crc(payload))
    return length + FOOTER.pack(masked_crc(length)) + payload + checksum


Span = tuple[int, int]  # start and end of a field's bytes


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature: its kind (bytes, float, int64) and where its list lies in the record."""

    kind: int  # field number in feature.proto: 1 bytes_list, 2 float_list, 3 int64_list
    span: Span


def features(record: bytes) -> dict[str, Feature]:
    """Return name -> Feature of a serialised tf.train.Example, values left where they are.

    Raises RecordError when the bytes are not an Example.
    """
    found = {}
    try:
        for _, span in fields(record, (0, len(record))):  # Example.features
            for _, entry in fields(record, span):  # Features.feature: map entries
                (_, name), (_, value) = sorted(fields(record, entry))[:2]
                kind, values = next(fields(record, value))
                found[record[name[0] : name[1]].decode()] = Feature(kind, values)
    except (IndexError, ValueError, StopIteration) as error:
        raise RecordError(f"not a tf.train.Example ({error})") from error
    return found


def lists(record: bytes) -> dict[bytes, bytes]:
    """Return name -> the undecoded bytes of its list, for a record of packed numeric features.

    Walks the one layout that TensorFlow writes, four times as fast as `features`, and leaves
    any other valid layout to it. Raises RecordError when the bytes are not an Example.
    """
    found = {}
    try:
        at = _enter(record, 0, 0x0A)  # Example.features
        while at < len(record):
            name = _enter(record, _enter(record, at, 0x0A), 0x0A)  # map entry, key
            value = name + record[name - 1]
            kind = _enter(record, value, 0x12)  # value
            start = _enter(record, _enter(record, kind, record[kind]), 0x0A)  # list, its values
            length, _ = varint(record, value + 1)
            at = kind + length
            found[record[name:value]] = record[start:at]
        _require_end(record, at)
    except (IndexError, ValueError):
        return {
            name.encode(): b"".join(record[a:b] for _, (a, b) in fields(record, feature.span))
            for name, feature in features(record).items()
        }
    return found


def _require_end(record: bytes, at: int) -> None:
    if at != len(record):
        raise ValueError(at)


def _enter(record: bytes, at: int, tag: int) -> int:
    """Step over a tag and the length behind it. Raises ValueError on another tag."""
    if record[at] != tag:
        raise ValueError(tag)
    at += 1
    while record[at] >= CONTINUES:
        at += 1
    return at + 1


def fields(data: bytes, span: Span) -> Iterator[tuple[int, Span]]:
    """Yield (field number, span of the value) of each field of a message."""
    at, end = span
    while at < end:
        tag, at = varint(data, at)
        wire = tag & 7
        if wire == _BYTES:
            length, at = varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        elif wire == _VARINT:
            length = varint(data, at)[1] - at
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if at + length > end:
            raise ValueError(f"a field at byte {at} is longer than its message")
        yield tag >> 3, (at, at + length)
        at += length


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Decode one varint; return its value and where the next field begins."""
    value = data[at]
    if value < CONTINUES:
        return value, at + 1
    value &= 0x7F
    shift = 7
    while True:
        at += 1
        byte = data[at]
        value |= (byte & 0x7F) << shift
        if byte < CONTINUES:
            return value, at + 1
        shift += 7


def text(record: bytes, feature: Feature) -> Span:
    """Return where the only value of a bytes feature lies."""
    (_, span), *more = fields(record, feature.span)
    if more:
        raise RecordError("a bytes feature has more than one value")
    return span


def integer(record: bytes, feature: Feature) -> int:
    """Return the only value of an int64 feature, packed or not."""
    ((_, (start, end)),) = fields(record, feature.span)
    value, at = varint(record, start)
    if at != end:
        raise RecordError("an int64 feature has more than one value")
    return value
