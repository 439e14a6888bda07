import io

import numpy as np
import pytest
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
    ],
    ids=["baseline", "progressive", "behind a long EXIF segment", "PNG", "text after the end"],
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
