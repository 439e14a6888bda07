"""Members of a tar or zip from a stranger, one after another: bytes in, names and chunks out.

It reads a deliberately small part of both formats: files and folders, nothing else. Links, devices,
sparse files, encryption and anything unknown are refused by the member's name. It keeps one header
and one chunk in memory, whatever the archive claims. It writes nothing and follows nothing.

Python's tarfile is not used here: it reads extended headers whole into memory, and releases within
our range loop for ever on crafted ones (CVE-2024-6232, CVE-2025-8194).
"""

import gzip
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import zstandard

from launcher.errors import ResponseError

CHUNK = 1 << 18
BLOCK = 512
MAX_HEADER = 16 << 10  # of an extended tar header; a path needs a few hundred bytes
MAX_PADDING = 1 << 20  # zeros after a tar's end; tar itself fills up to 10 KiB
MAX_PRELUDES = 4  # extended headers before one member
MAX_DIRECTORY = 16 << 20  # of a zip's list of members
MAX_WINDOW = 128 << 20  # memory a zstd frame may ask for

_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a named pipe",
    b"S": "a sparse file",
}
# What the libraries were seen to raise on damaged archives.
_BROKEN = (
    *(zlib.error, gzip.BadGzipFile, zstandard.ZstdError, zipfile.BadZipFile, struct.error),
    *(EOFError, NotImplementedError, RuntimeError, OverflowError, ValueError),
)


class Readable(Protocol):
    """All that reading a tar needs."""

    def read(self, size: int, /) -> bytes:
        """Return up to so many bytes, and none only at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file or folder of an archive. Its chunks must be read before the next is asked for."""

    raw_name: bytes
    is_folder: bool
    executable: bool  # the one bit of its mode that git keeps
    chunks: Iterator[bytes]


def members(path: Path, source: BinaryIO) -> Iterator[Member]:
    """Read an archive, told apart by its first bytes, never by its name.

    Raises ResponseError naming the member that is not a plain file or folder.
    """
    magic = source.read(BLOCK)
    source.seek(0)
    with _told(path):
        if magic.startswith(b"PK\x03\x04"):
            yield from _zip(path, source)
        elif magic.startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=source) as stream:
                yield from _tar(path, stream)
        elif magic.startswith(b"\x28\xb5\x2f\xfd"):
            unpacker = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
            with unpacker.stream_reader(source, read_across_frames=True) as stream:
                yield from _tar(path, stream)
        elif _checksum_fits(magic):
            yield from _tar(path, source)
        else:
            raise ResponseError(
                f"{path} is neither tar, tar.gz, tar.zst nor zip; ask for one of these."
            )


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say in our words what a damaged archive did to the libraries."""
    try:
        yield
    except _BROKEN as error:
        raise ResponseError(f"{path} is damaged or cut short ({error}).") from error


# --- tar ---------------------------------------------------------------------------------------


def _tar(path: Path, stream: Readable) -> Iterator[Member]:
    extended: dict[str, bytes] = {}
    preludes = 0
    while header := _header(path, stream):
        name, kind = _name(header), header[156:157]
        size = _size(path, name, extended.pop("size", header[124:136]))
        if kind in b"LKxg":
            extended |= _extended(path, stream, kind, size)
            preludes += 1
            if preludes > MAX_PRELUDES:
                raise ResponseError(f"{path}: too many extended headers in a row; refused.")
            continue
        name = extended.pop("path", name)
        extended.clear()
        preludes = 0
        if kind not in b"\x00057":
            what = _KINDS.get(kind, f"of type {kind!r}")
            raise ResponseError(f"{path}: member {shown(name)} is {what}; refused.")
        is_folder = kind == b"5" or name.endswith(b"/")
        if is_folder and size:
            raise ResponseError(f"{path}: member {shown(name)} is a folder with bytes; refused.")
        rest = _Counter(size)
        executable = _executable(header)
        chunks = rest.chunks(path, stream)
        yield Member(raw_name=name, is_folder=is_folder, executable=executable, chunks=chunks)
        for _ in rest.chunks(path, stream):
            pass  # what the reader left
        _exactly(path, stream, -size % BLOCK)
    _require_end(path, stream)


class _Counter:
    """How much of a member is still to come."""

    def __init__(self, size: int) -> None:
        self.left = size

    def chunks(self, path: Path, stream: Readable) -> Iterator[bytes]:
        while self.left:
            with _told(path):
                chunk = stream.read(min(CHUNK, self.left))
            if not chunk:
                raise ResponseError(f"{path} ends inside a member; ask for it again.")
            self.left -= len(chunk)
            yield chunk


def _header(path: Path, stream: Readable) -> bytes:
    """Return the next header, or nothing at the end of the archive."""
    header = _exactly(path, stream, BLOCK)
    if not header.strip(b"\0"):
        return b""
    if not _checksum_fits(header):
        raise ResponseError(f"{path}: a tar header's checksum is wrong; ask for the file again.")
    return header


def _require_end(path: Path, stream: Readable) -> None:
    """Refuse what follows the end: another program could show other files than those examined."""
    left = MAX_PADDING
    while chunk := stream.read(CHUNK):
        left -= len(chunk)
        if left < 0 or chunk.strip(b"\0"):
            raise ResponseError(f"{path} goes on after the end of the archive; refused.")


def _exactly(path: Path, stream: Readable, count: int) -> bytes:
    parts = []
    while count:
        part = stream.read(count)
        if not part:
            raise ResponseError(f"{path} ends too early; ask for it again.")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _checksum_fits(header: bytes) -> bool:
    if len(header) != BLOCK:
        return False
    stated = header[148:156].strip(b" \0")
    actual = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    return stated.isdigit() and stated.strip(b"01234567") == b"" and int(stated, 8) == actual


def _name(header: bytes) -> bytes:
    name = header[:100].split(b"\0")[0]
    prefix = header[345:500].split(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return b"/".join(filter(None, (prefix, name)))


def _executable(header: bytes) -> bool:
    digits = header[100:108].strip(b" \0")
    return digits.isdigit() and not digits.strip(b"01234567") and bool(int(digits, 8) & 0o100)


def _size(path: Path, name: bytes, field: bytes) -> int:
    if field.startswith(b"\x80"):  # GNU's base 256, for files over 8 GiB
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if digits.strip(b"01234567"):
        raise ResponseError(f"{path}: member {shown(name)} states no readable size; refused.")
    return int(digits or b"0", 8)


def _extended(path: Path, stream: Readable, kind: bytes, size: int) -> dict[str, bytes]:
    """Read a GNU long name or a pax header; keep the path and size of a pax one."""
    if size > MAX_HEADER:
        raise ResponseError(
            f"{path}: an extended header of {size} bytes; none needs more than {MAX_HEADER}."
        )
    body = _exactly(path, stream, size)
    _exactly(path, stream, -size % BLOCK)
    if kind == b"L":
        return {"path": body.rstrip(b"\0")}
    return _pax(path, body) if kind == b"x" else {}  # K: of a link, refused next; g: comments


def _pax(path: Path, body: bytes) -> dict[str, bytes]:
    found = {}
    while body:
        length, blank, _ = body.partition(b" ")
        count = int(length) if blank and length.isdigit() and len(length) < len("100000") else 0
        record, body = body[:count], body[count:]
        key, equals, value = record[len(length) + 1 :].partition(b"=")
        if len(record) != count or not count or not equals or not value.endswith(b"\n"):
            raise ResponseError(f"{path}: an extended header cannot be read; refused.")
        if key.startswith(b"GNU.sparse"):
            raise ResponseError(f"{path}: a member is a sparse file; refused.")
        if key == b"path":
            found["path"] = value[:-1]
        elif key == b"size" and value[:-1].isdigit() and len(value) < len(str(1 << 63)):
            found["size"] = b"%o" % int(value[:-1])
    return found


# --- zip ---------------------------------------------------------------------------------------


def _zip(path: Path, source: BinaryIO) -> Iterator[Member]:
    _require_small_directory(path, source)
    try:
        archive = zipfile.ZipFile(source)
    except (UnicodeDecodeError, ValueError, NotImplementedError) as error:
        raise ResponseError(f"{path}: a member's name cannot be read ({error}).") from error
    with archive:
        for info in archive.infolist():
            name = info.orig_filename.encode("utf-8", "surrogateescape")
            _require_plain(path, info, name)
            yield Member(
                raw_name=name,
                is_folder=info.is_dir(),
                executable=bool(info.external_attr >> 16 & 0o100),
                chunks=_unzip(path, archive, info),
            )


def _require_small_directory(path: Path, source: BinaryIO) -> None:
    """Look at the size of a zip's list of members before anything reads it into memory."""
    end = source.seek(0, 2)
    source.seek(max(0, end - (1 << 16) - 22))
    tail = source.read()
    record = tail[tail.rfind(b"PK\x05\x06") :]
    size = int.from_bytes(record[12:16], "little")
    if size > MAX_DIRECTORY or b"PK\x06\x06" in tail:
        raise ResponseError(f"{path}: its list of members is larger than any response's; refused.")
    source.seek(0)


def _require_plain(path: Path, info: zipfile.ZipInfo, name: bytes) -> None:
    mode = info.external_attr >> 16
    kind = stat.S_IFMT(mode)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a symbolic link" if stat.S_ISLNK(mode) else "a device or pipe"
        raise ResponseError(f"{path}: member {shown(name)} is {what}; refused.")
    if info.flag_bits & 0x1:
        raise ResponseError(f"{path}: member {shown(name)} is encrypted; ask for it in the clear.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ResponseError(
            f"{path}: member {shown(name)} is packed by method {info.compress_type}; "
            "ask for deflate or no compression."
        )


def _unzip(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    with _told(path), archive.open(info) as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def shown(name: bytes) -> str:
    """Print a name that may hold anything, safely and shortly."""
    return ascii(name[:120].decode("utf-8", "backslashreplace"))
