"""JPEG bytes -> what their header says, and grey pixels -> JPEG bytes. Needs Pillow."""

import io

from PIL import Image


def encode(grey: bytes, *, side: int, to_side: int, quality: int) -> bytes:
    """Return a square grey image, scaled up smoothly, as an RGB JPEG."""
    image = Image.frombytes("L", (side, side), grey)
    image = image.resize((to_side, to_side), Image.Resampling.BICUBIC).convert("RGB")
    target = io.BytesIO()
    image.save(target, "JPEG", quality=quality)
    return target.getvalue()
