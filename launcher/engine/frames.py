"""Docker's framed output stream to stdout and stderr bytes, and a check against the engine's copy.

Values only: it is handed what was read, and never reads itself.

The live stream is exact but can break (the daemon restarts, the connection dies); the engine's own
copy is complete, and nearly exact. `Tally.missing` tells, without keeping the output, what the
stream did not bring.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

STDOUT, STDERR = 1, 2
_ASCII = 128
_NOT_ASCII = bytes(range(_ASCII, 256))
_HEADER = struct.Struct(">BxxxL")  # stream, three blanks, size: Engine API, "Attach", stream format


class Frames:
    """Splits the bytes of an attached, non-tty stream into (stream, bytes)."""

    def __init__(self) -> None:
        self._header = b""
        self._stream = 0
        self._left = 0  # bytes of the current frame still to come

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield what these bytes add; a frame may arrive in any number of pieces."""
        while data:
            if self._left:
                piece, data = data[: self._left], data[self._left :]
                self._left -= len(piece)
                yield self._stream, piece
                continue
            wanted = _HEADER.size - len(self._header)
            self._header, data = self._header + data[:wanted], data[wanted:]
            if len(self._header) == _HEADER.size:
                self._stream, self._left = _HEADER.unpack(self._header)
                self._header = b""


@dataclass(slots=True)
class Tally:
    """How much output arrived and its hash: enough to compare it with the engine's copy.

    Only ASCII counts: the engine's copy is JSON text, in which every byte that is not UTF-8, and
    every character cut at one of its 16 KiB pieces, has become another one.
    """

    size: int = 0  # ASCII bytes
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    last: bytes = b""

    def add(self, data: bytes) -> None:
        """Count bytes that arrived."""
        ascii_only = data.translate(None, _NOT_ASCII)
        self.size += len(ascii_only)
        self.digest.update(ascii_only)
        self.last = data[-1:] or self.last

    def missing(self, copy: Iterable[bytes]) -> Iterator[bytes]:
        """Yield what the engine's copy has beyond what arrived.

        Raises Differs when the copy does not begin with what arrived. It reads the whole copy.
        """
        seen, left, beyond, same = hashlib.sha256(), self.size, False, True
        for data in copy:
            head = b"" if beyond else _holding(data, left)
            counted = head.translate(None, _NOT_ASCII)
            seen.update(counted)
            left -= len(counted)
            if rest := data[len(head) :]:
                same = same and (beyond or seen.digest() == self.digest.digest())
                beyond = True
                if same:
                    yield rest
        if left or seen.digest() != self.digest.digest():
            raise Differs

    def is_own_newline(self, missing: bytes) -> bool:
        """Say whether what is missing is only the newline with which the engine ends its copy."""
        return missing == b"\n" and self.last not in (b"\n", b"")


def _holding(data: bytes, count: int) -> bytes:
    """Return the head of the data that holds this many ASCII bytes, and what clings to them."""
    if len(data) <= count:
        return data
    for place, byte in enumerate(data):
        if byte < _ASCII:
            if not count:
                return data[:place]
            count -= 1
    return data


class Differs(Exception):  # noqa: N818 - an answer, not a failure
    """The engine's copy of the output is not what arrived."""
