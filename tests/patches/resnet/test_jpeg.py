import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from image_classification.pytorch import jpeg
from tests.patches.resnet.runs import jpeg_bytes

PIXELS = np.arange(20 * 31 * 3, dtype=np.uint8).reshape(20, 31, 3)


def encoded(kind, **options):
    target = io.BytesIO()
    Image.fromarray(PIXELS).save(target, kind, **options)
    return target.getvalue()


@pytest.mark.parametrize(
    "image",
    [
        jpeg_bytes(PIXELS),
        encoded("JPEG", progressive=True),
        encoded("JPEG", exif=b"Exif\0\0" + bytes(5000)),
        encoded("PNG"),
        jpeg_bytes(PIXELS) + b"\0" * 100,
        jpeg_bytes(PIXELS) + b"\0" * 10_000,
    ],
    ids=["baseline", "progressive", "behind EXIF", "PNG", "text after the end", "a page of it"],
)
def test_height_and_width_are_read_from_the_header(image):
    assert jpeg.size(image) == (20, 31)


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (b"", "does not begin as a JPEG"),
        (b"GIF89a" + bytes(100), "does not begin as a JPEG"),
        (jpeg_bytes(PIXELS)[:-200], "cut off"),
        (jpeg_bytes(PIXELS)[:100] + b"\xff\xd9", "header is"),
        (b"\xff\xd8\xff\xd9", "header is"),
        (b"\xff\xd8abc\xff\xd9", "damaged"),
        (encoded("PNG")[:20], "header is cut off"),
        (encoded("JPEG", exif=b"\xff\xd9" + bytes(5000))[:-200], "cut off"),
    ],
)
def test_damage_is_named(image, complaint):
    with pytest.raises(ValueError, match=complaint):
        jpeg.size(image)


@pytest.mark.parametrize("size", [(375, 500), (17, 33), (16, 16)])
def test_a_synthetic_image_is_grey_everywhere_for_any_decoder(size):
    image = Image.open(io.BytesIO(jpeg.synthetic(*size)))
    assert jpeg.size(jpeg.synthetic(*size)) == size
    assert image.mode == "RGB"
    assert set(np.asarray(image).ravel()) == {128}


@given(
    st.sampled_from([jpeg_bytes(PIXELS), encoded("PNG"), encoded("JPEG", progressive=True)]),
    st.data(),
)
def test_any_damage_ends_in_a_size_or_a_complaint(image, draw):
    changed = bytearray(image[: draw.draw(st.integers(0, len(image)))])
    for place in draw.draw(st.lists(st.integers(0, max(0, len(changed) - 1)), max_size=4)):
        changed[place : place + 1] = draw.draw(st.binary(min_size=1, max_size=1))
    try:
        height, width = jpeg.size(bytes(changed))
    except ValueError:
        return
    assert height > 0
    assert width > 0
