"""Writes TensorFlow checkpoint files for tests: the LevelDB table and protocol buffers by hand."""

import struct
from pathlib import Path

import numpy as np
from bert.crc32c import crc32c, masked

MAGIC = 0xDB4775248B80FB57
TYPES = {"float32": 1, "int64": 9}


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number, value):
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def entry(dtype, shape, offset, size, checksum):
    dimensions = b"".join(field(2, field(1, length)) for length in shape)
    parts = [field(1, dtype), field(2, dimensions)]
    parts += [field(4, offset)] if offset else []
    return b"".join([*parts, field(5, size), varint(6 << 3 | 5), struct.pack("<I", checksum)])


def block(entries):
    """One block: every 16th key whole, the others without what they share with the one before."""
    out, restarts, before = bytearray(), [], b""
    for number, (key, value) in enumerate(entries):
        shared = 0
        if number % 16 == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(before)) and key[shared] == before[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value))
        out += key[shared:] + value
        before = key
    restarts = restarts or [0]
    out += struct.pack(f"<{len(restarts)}I", *restarts) + struct.pack("<I", len(restarts))
    trailer = bytes(1)
    return bytes(out) + trailer + struct.pack("<I", masked(crc32c(bytes(out) + trailer)))


def table(records, per_block=100):
    records = sorted(records.items())
    out, handles = bytearray(), []
    for start in range(0, len(records), per_block):
        made = block(records[start : start + per_block])
        last = records[start : start + per_block][-1][0]
        handles.append((last, varint(len(out)) + varint(len(made) - 5)))
        out += made
    meta, index = block([]), block(handles)
    footer = varint(len(out)) + varint(len(meta) - 5)
    out += meta
    footer += varint(len(out)) + varint(len(index) - 5)
    out += index
    return bytes(out) + footer.ljust(40, b"\0") + struct.pack("<Q", MAGIC)


class Writer:
    """Streams tensors into PREFIX.data-00000-of-00001 and finishes with PREFIX.index."""

    def __init__(self, prefix: Path) -> None:
        self.prefix, self.records, self.offset = prefix, {}, 0
        self.file = Path(f"{prefix}.data-00000-of-00001").open("wb")  # noqa: SIM115 - finish closes

    def add(self, name, values, *, checksum=True):
        data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        crc = masked(crc32c(data)) if checksum else 0
        self.put(name, TYPES[str(values.dtype)], values.shape, data.data, crc)

    def add_string(self, name, value):
        lengths = varint(len(value))
        self.put(name, 7, (), lengths + struct.pack("<I", 0) + value, 0)

    def put(self, name, dtype, shape, data, crc):
        self.file.write(data)
        self.records[name.encode()] = entry(dtype, shape, self.offset, len(data), crc)
        self.offset += len(data)

    def finish(self):
        self.file.close()
        self.records[b""] = field(1, 1) + field(3, field(1, 1))
        Path(f"{self.prefix}.index").write_bytes(table(self.records))
        return self.prefix


def object_graph(names):
    """A TrackableObjectGraph that gives each key its variable's full name."""
    nodes = [
        field(1, field(2, field(1, b"VARIABLE_VALUE") + field(2, name.encode()) + field(3, key)))
        for name, key in names.items()
    ]
    return b"".join(nodes)
