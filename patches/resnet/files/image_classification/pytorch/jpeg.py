"""A compressed image to its height and width, and nothing to a synthetic JPEG.

Reads headers only; pixels are DALI's business. Every refusal says what is wrong with the bytes, and
the caller, who knows it, adds the name.
"""

import struct

_START, _END = b"\xff\xd8", b"\xff\xd9"
_PNG = b"\x89PNG\r\n\x1a\n"  # ImageNet's training set has one PNG under a JPEG's name
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF markers hold the size
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length
_TRAILER = 4096  # bytes at the end where the end marker is looked for first


def size(data: bytes | memoryview) -> tuple[int, int]:
    """Return (height, width) in pixels. Raises ValueError when the bytes are no whole image."""
    view = memoryview(data)
    if view[:2] != _START and view[:8] != _PNG:
        raise ValueError("it does not begin as a JPEG")
    try:
        if view[:8] == _PNG:
            width, height = struct.unpack_from(">II", view, 16)
        else:
            height, width, frame = _frame_size(view)
            _check_end(view, frame)
    except (IndexError, struct.error):
        raise ValueError("its JPEG header is cut off") from None
    if height == 0 or width == 0:
        raise ValueError("its header gives it no pixels")
    return height, width


def _check_end(view: memoryview, frame: int) -> None:
    """Refuse an image without an end. A thumbnail before the frame has an end of its own."""
    if bytes(view[-_TRAILER:]).rfind(_END) < 0 and bytes(view[frame:]).rfind(_END) < 0:
        raise ValueError("it is cut off: the JPEG end marker is missing")


def _frame_size(view: memoryview) -> tuple[int, int, int]:
    """Walk the segments to the first frame header (ITU T.81, B.2.2): height, width, its place."""
    at = 2
    while True:
        if view[at] != 0xFF:  # noqa: PLR2004 - every marker begins with it
            raise ValueError("its JPEG header is damaged")
        marker = view[at + 1]
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", view, at + 5)
            return height, width, at
        if marker == 0xFF:  # noqa: PLR2004 - fill byte
            at += 1
        elif marker in _BARE:
            at += 2
        else:
            (length,) = struct.unpack_from(">H", view, at + 2)
            at += 2 + length


def synthetic(height: int, width: int) -> bytes:
    """Return a flat grey colour JPEG, for warming decoders without touching a data set.

    4:2:0, one Huffman code of one bit for each table ("no difference", "end of block"), so that
    every block is two zero bits and every unit of 16 x 16 pixels is twelve.
    """
    quantisation = b"\xff\xdb\x00\x43\x00" + bytes([16]) * 64
    components = b"\x01\x22\x00\x02\x11\x00\x03\x11\x00"
    frame = struct.pack(">BBHBHHB", 0xFF, 0xC0, 17, 8, height, width, 3) + components
    counts = bytes([1] + [0] * 15)  # one code, one bit long
    huffman = b"\xff\xc4\x00\x26\x00" + counts + b"\x00\x10" + counts + b"\x00"
    scan = b"\xff\xda\x00\x0c\x03\x01\x00\x02\x00\x03\x00\x00\x3f\x00"
    units = -(-height // 16) * -(-width // 16)
    whole, odd = divmod(units * 12, 8)
    entropy = bytes(whole) + (b"\x0f" if odd else b"")  # the rest of a byte is filled with ones
    return _START + quantisation + frame + huffman + scan + entropy + _END
