"""Samples -> uncompressed tar shards with DALI's webdataset index, and shards -> samples.

A sample is two members, `<key>.jpg` (the image's bytes as they came) and `<key>.cls` (the label,
0..999, as ASCII). Tar headers carry no clock and no owner: the same samples give the same bytes.
Index format v1.2 is that of DALI's `wds2idx`; a test holds it against that program.
"""

import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

BLOCK = tarfile.BLOCKSIZE
RECORD = tarfile.RECORDSIZE
SHARD = "shard-{:05d}.tar"
LONGEST_KEY = 90  # characters; a ustar name has 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One image as it is trained on."""

    key: str
    label: int
    image: bytes

    @property
    def content(self) -> tuple[bytes, bytes]:
        """Return the canonical bytes: what the data set's digest covers."""
        return content(self.label, self.image)


def content(label: int, image: bytes) -> tuple[bytes, bytes]:
    """Return the canonical bytes of a sample in any form."""
    return b"%d\0" % label, image


def write(path: Path, samples: Iterable[Sample]) -> Path:
    """Write one shard and return the index written beside it."""
    lines: list[str] = []
    with path.open("wb", buffering=1 << 20) as tar:
        for sample in samples:
            parts = (("jpg", sample.image), ("cls", b"%d" % sample.label))
            lines.append(" ".join(_member(tar, sample.key, suffix, data) for suffix, data in parts))
        tar.write(bytes(2 * BLOCK))
        tar.write(bytes(-tar.tell() % RECORD))
    index = path.with_suffix(".idx")
    index.write_text("".join(f"{line}\n" for line in (f"v1.2 {len(lines)}", *lines)))
    return index


def _member(tar: BinaryIO, key: str, suffix: str, data: bytes) -> str:
    name = f"{key}.{suffix}"
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.write(info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict"))
    offset = tar.tell()
    tar.write(data)
    tar.write(bytes(-len(data) % BLOCK))
    return f"{suffix} {offset} {len(data)} {name}"


def read(path: Path) -> Iterator[Sample]:
    """Yield the samples of a shard, found through its index; one read a sample.

    Raises ValueError when shard and index do not belong together.
    """
    with path.open("rb", buffering=0) as tar:
        for line in _lines(path.with_suffix(".idx")):
            offset, size, label_offset, label_size = line
            tar.seek(offset)
            span = label_offset + label_size - offset
            data = tar.read(span)
            if len(data) < span:
                raise ValueError(f"{path}: is shorter than its index says")
            head = data[label_offset - BLOCK - offset : label_offset - offset]
            key = head[:100].rstrip(b"\0").decode("ascii", "replace").removesuffix(".cls")
            yield Sample(key=key, label=int(data[-label_size:]), image=data[:size])


def _lines(index: Path) -> Iterator[tuple[int, int, int, int]]:
    version, *lines = index.read_text(encoding="ascii").splitlines()
    if version != f"v1.2 {len(lines)}":
        raise ValueError(f"{index}: begins with {version!r}, not 'v1.2 {len(lines)}'")
    for line in lines:
        words = line.split()
        if words[0] != "jpg" or words[4] != "cls":
            raise ValueError(f"{index}: a sample is not jpg and cls: {line!r}")
        yield int(words[1]), int(words[2]), int(words[5]), int(words[6])
