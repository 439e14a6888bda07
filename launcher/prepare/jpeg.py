"""Image bytes -> what their header says, without decoding. Pillow only to decode or encode.

ImageNet's known oddities are told apart here: a PNG named JPEG, CMYK JPEGs. Both stay as they are:
TensorFlow's and DALI's decoders look at the content and give the same RGB pixels for them.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

PNG = b"\x89PNG\r\n\x1a\n"
PNG_END = b"IEND\xaeB`\x82"
PNG_HEADER = struct.Struct(">4sIIBB")  # IHDR, width, height, depth, colour type; ISO 15948, 11.2.2
START, END = b"\xff\xd8", b"\xff\xd9"
SCAN = 0xDA
NO_LENGTH = {0x01, *range(0xD0, 0xD8)}  # markers without a segment
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # SOF0..15 but DHT, JPG, DAC; ITU T.81, B.1.1.3
FRAME = struct.Struct(">BHHB")  # precision, height, width, components


class ImageError(ValueError):
    """Bytes that are no whole image; the message says why, not which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the header of an image says."""

    kind: str  # "jpeg" or "png"
    width: int
    height: int
    components: int  # of a JPEG: 1 grey, 3 colour, 4 CMYK; of a PNG 0

    @property
    def oddity(self) -> str | None:
        """Name what sets it apart from an ordinary JPEG."""
        if self.kind == "png":
            return "png"
        return "cmyk" if self.components == 4 else None  # noqa: PLR2004


def read_header(image: bytes) -> Header:
    """Read the header and require the end marker. Raises ImageError."""
    try:
        header, rest = _png(image) if image.startswith(PNG) else _jpeg(image)
    except (struct.error, IndexError) as error:
        raise ImageError("is cut off in its header") from error
    if not (header.width and header.height):
        raise ImageError("has no pixels")
    if image.find(PNG_END if header.kind == "png" else END, rest) < 0 and not _decodes(image):
        raise ImageError("is cut off: it has no end marker and does not decode")
    return header


def _png(image: bytes) -> tuple[Header, int]:
    name, width, height, _, _ = PNG_HEADER.unpack_from(image, len(PNG) + 4)
    if name != b"IHDR":
        raise ImageError("is a PNG without header")
    return Header(kind="png", width=width, height=height, components=0), len(PNG)


def _jpeg(image: bytes) -> tuple[Header, int]:
    """Walk the segments up to the first scan; behind it, only a real end marker can be FF D9."""
    if not image.startswith(START):
        raise ImageError("is neither JPEG nor PNG" if image else "is empty")
    header = None
    for marker, segment, end in _segments(image):
        if marker in FRAMES:
            _, height, width, components = FRAME.unpack_from(image, segment)
            header = Header(kind="jpeg", width=width, height=height, components=components)
        if marker == SCAN and header is not None:
            return header, end
    raise ImageError("has no scan")


def _segments(image: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield each marker with where its segment begins and ends. ITU T.81, B.1.1."""
    at = len(START)
    while True:
        if image[at] != 0xFF:  # noqa: PLR2004 - every marker begins so
            raise ImageError(f"has no marker at byte {at}")
        marker = image[at + 1]
        at += 1 if marker == 0xFF else 2  # noqa: PLR2004 - fill byte
        if marker == 0xFF or marker in NO_LENGTH:  # noqa: PLR2004
            continue
        (length,) = struct.unpack_from(">H", image, at)
        yield marker, at + 2, at + length
        at += length


def _decodes(image: bytes) -> bool:
    try:
        decode(image)
    except ImageError:
        return False
    return True


def decode(image: bytes) -> tuple[int, int]:
    """Decode every pixel and return width and height. Raises ImageError."""
    try:
        with Image.open(io.BytesIO(image)) as opened:
            opened.load()
            return opened.size
    except (OSError, SyntaxError, UnidentifiedImageError, ValueError) as error:
        raise ImageError(f"does not decode ({error})") from error


def encode(grey: bytes, *, side: int, to_side: int, quality: int) -> bytes:
    """Return a square grey image, scaled up smoothly, as an RGB JPEG."""
    image = Image.frombytes("L", (side, side), grey)
    image = image.resize((to_side, to_side), Image.Resampling.BICUBIC).convert("RGB")
    target = io.BytesIO()
    image.save(target, "JPEG", quality=quality)
    return target.getvalue()
