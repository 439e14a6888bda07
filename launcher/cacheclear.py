"""A data set on disk to a page cache without it, with the proof: resident bytes before and after.

It clears and measures; it claims nothing. Pages are counted with mincore(2). As root the whole
cache is dropped (the rules' own example); anybody may ask for a file's pages to go with fadvise.
"""

import ctypes
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DROP = Path("/proc/sys/vm/drop_caches")
ENOUGH = 0.01  # share of the data that may stay resident: pages the kernel reads ahead or pins

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
]
_LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_LIBC.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
_WINDOW = 1 << 30  # bytes mapped at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was done about the page cache, and what stayed in it."""

    method: str  # "drop_caches", "fadvise" or "drop_caches+fadvise"
    data_bytes: int
    resident_before: int  # bytes
    resident_after: int
    problem: str = ""

    @property
    def holds(self) -> bool:
        """Say whether the data set is out of the cache."""
        return not self.problem and self.resident_after <= ENOUGH * self.data_bytes

    def payload(self) -> Mapping[str, Any]:
        """Return what the ledger keeps."""
        return {
            "method": self.method,
            "data_bytes": self.data_bytes,
            "resident_before_bytes": self.resident_before,
            "resident_after_bytes": self.resident_after,
            "proven": self.holds,
            **({"problem": self.problem} if self.problem else {}),
        }


def clear(roots: Iterable[Path], *, everything: bool) -> Proof:
    """Drop every file below these folders from the page cache and measure what that did.

    `everything` drops the whole machine's cache where we may (root), as the rules' own example
    does. What cannot be read or measured is a `problem` of the proof, not an error.
    """
    methods = []
    try:
        files = [path for root in roots for path in _files(root)]
        size = sum(path.stat().st_size for path in files)
        before = after = _resident(files)
        if everything and _drop_all():
            methods.append("drop_caches")
            after = _resident(files)
        if after or not methods:
            methods.append("fadvise")
            for path in files:
                _advise(path)
            after = _resident(files)
    except OSError as error:
        problem = f"{error.filename or 'mincore'}: {error.strerror}"
        return Proof(method="", data_bytes=0, resident_before=0, resident_after=0, problem=problem)
    return Proof(
        method="+".join(methods), data_bytes=size, resident_before=before, resident_after=after
    )


def _resident(files: Iterable[Path]) -> int:
    return sum(resident(path) for path in files)


def resident(path: Path) -> int:
    """Return how many bytes of a file lie in the page cache (whole pages, at most its size)."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        pages = 0
        for start in range(0, size, _WINDOW):
            pages += _resident_pages(file.fileno(), start, min(_WINDOW, size - start))
    return min(size, pages * mmap.PAGESIZE)


def _resident_pages(descriptor: int, start: int, length: int) -> int:
    address = _LIBC.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, start)
    if address in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        vector = ctypes.create_string_buffer((length + mmap.PAGESIZE - 1) // mmap.PAGESIZE)
        if _LIBC.mincore(address, length, vector):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        _LIBC.munmap(address, length)
    # Only the lowest bit counts; the others are undefined (mincore(2)).
    return sum(vector.raw.translate(_LOWEST_BIT)[: len(vector)])


_LOWEST_BIT = bytes(byte & 1 for byte in range(256))


def _files(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
    seen = set()
    for folder, below, names in os.walk(root, followlinks=True):
        status = os.stat(folder)  # noqa: PTH116 - as os.walk names it
        if (status.st_dev, status.st_ino) in seen:
            below.clear()  # a link led back here
            continue
        seen.add((status.st_dev, status.st_ino))
        for name in names:
            path = Path(folder, name)
            if path.is_file():
                yield path


def _drop_all() -> bool:
    """Drop the whole page cache where we may; say whether that worked."""
    if not os.access(DROP, os.W_OK):
        return False
    os.sync()
    try:
        DROP.write_text("3\n", encoding="ascii")
    except OSError:
        return False
    return True


def _advise(path: Path) -> None:
    with path.open("rb") as file:
        os.fdatasync(file.fileno())  # dirty pages are not dropped
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
