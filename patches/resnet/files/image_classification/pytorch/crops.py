"""Image sizes and random numbers to crop windows and sampling grids, as the reference has them.

Pure arithmetic on arrays: it sees no pixel. A grid is the affine map from an output pixel to where
it is read in the decoded window; crop, flip and resize together are one such map.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# tf.image.sample_distorted_bounding_box as imagenet_preprocessing.py:407-414 calls it
ASPECT = (0.75, 1.33)  # width / height, uniform
MIN_COVERED = 0.1  # of the one box, which is the whole image
# The reference tries 100 times before it takes the whole image. One try fails in at most 1 of 4
# images' worth of area, so 16 fail together less than once in 10**9 images.
ATTEMPTS = 16

Integers = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Windows:
    """Pixels to decode and how to read them, one row per image."""

    starts: NDArray[np.int32]  # (N, 2): y, x of the first pixel
    shapes: NDArray[np.int32]  # (N, 2): height, width
    grids: Floats  # (N, 2, 3): rows x and y of output pixel -> position in the window


@dataclass(frozen=True, slots=True)
class Draws:
    """All random numbers of a batch, in [0, 1)."""

    aspect: NDArray[np.float64]  # (N, ATTEMPTS)
    height: NDArray[np.float64]  # (N, ATTEMPTS)
    offset: NDArray[np.float64]  # (N, 2)
    flip: NDArray[np.float64]  # (N,)

    def __getitem__(self, rows: slice) -> "Draws":
        """Return the numbers of some of the images."""
        return Draws(self.aspect[rows], self.height[rows], self.offset[rows], self.flip[rows])


def draw(generator: np.random.Generator, images: int) -> Draws:
    """Draw the numbers of a batch."""
    return Draws(
        generator.random((images, ATTEMPTS)),
        generator.random((images, ATTEMPTS)),
        generator.random((images, 2)),
        generator.random(images),
    )


def training(
    sizes: Integers,  # (N, 2): height, width
    draws: Draws,
    output: int,
    *,
    area: tuple[float, float],
    flip_probability: float,
) -> Windows:
    """Return random crops, flipped before they are resized to output x output."""
    shapes = _crop_shapes(sizes, draws, area)
    # The kernel draws an offset below (size - crop), which leaves the very last one out.
    starts = np.floor(draws.offset * np.maximum(sizes - shapes, 1)).astype(np.int64)
    starts[shapes == sizes] = 0
    scales = (shapes / output).astype(np.float32)  # (N, 2): source pixels per output pixel
    flips = draws.flip < flip_probability
    scale_x = np.where(flips, -scales[:, 1], scales[:, 1])
    first_x = np.where(flips, shapes[:, 1] - 1, 0)
    grids = _grids(scale_x, first_x, scales[:, 0], np.zeros(len(sizes)))
    return Windows(starts.astype(np.int32), shapes.astype(np.int32), grids)


def evaluation(sizes: Integers, output: int, resized: int) -> Windows:
    """Return whole images, resized so that the short side is `resized`, centrally cropped.

    imagenet_preprocessing.py:513-544: the ratio is a float32 and the new sides are truncated, so
    some short sides come out one pixel short.
    """
    sides = sizes.astype(np.float32)
    ratios = np.float32(resized) / sides.min(axis=1, keepdims=True)
    scaled = (sides * ratios).astype(np.int64)  # (N, 2)
    offsets = (scaled - output) // 2  # :439-458
    scales = sides / scaled.astype(np.float32)
    firsts = offsets * scales
    grids = _grids(scales[:, 1], firsts[:, 1], scales[:, 0], firsts[:, 0])
    return Windows(np.zeros_like(sizes, np.int32), sizes.astype(np.int32), grids)


def _crop_shapes(sizes: Integers, draws: Draws, area: tuple[float, float]) -> Integers:
    """Return (height, width) of each crop: aspect uniform, then height uniform.

    The first attempt whose area passes is taken (GenerateRandomCrop in TensorFlow's
    sample_distorted_bounding_box_op.cc); where none does, the whole image.
    """
    heights, widths = sizes[:, :1].astype(np.float64), sizes[:, 1:].astype(np.float64)  # (N, 1)
    aspects = ASPECT[0] + (ASPECT[1] - ASPECT[0]) * draws.aspect  # (N, ATTEMPTS)
    least, most = area[0] * heights * widths, area[1] * heights * widths
    low = np.rint(np.sqrt(least / aspects))
    high = np.rint(np.sqrt(most / aspects))
    too_wide = np.rint(high * aspects) > widths
    high = np.where(too_wide, np.floor((widths + 0.5 - 1e-7) / aspects), high)
    high = np.minimum(high, heights)
    low = np.minimum(low, high)
    h = low + np.floor(draws.height * (high - low + 1))
    w = np.rint(h * aspects)
    h, w = _nudged(h, w, aspects, least, most)
    covered = h * w >= np.maximum(least, MIN_COVERED * heights * widths)
    accepted = covered & (h * w <= most) & (w <= widths) & (h <= heights) & (h > 0) & (w > 0)
    rows, first = np.arange(len(sizes)), accepted.argmax(axis=1)
    shapes = np.stack([h[rows, first], w[rows, first]], axis=1).astype(np.int64)
    return np.where(accepted.any(axis=1, keepdims=True), shapes, sizes)


def _nudged(
    h: NDArray[np.float64],
    w: NDArray[np.float64],
    aspects: NDArray[np.float64],
    least: NDArray[np.float64],
    most: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Move a height by one pixel where only rounding puts the area out of bounds."""
    h = h + (h * w < least)
    w = np.rint(h * aspects)
    h = h - (h * w > most)
    return h, np.rint(h * aspects)


def _grids(
    scale_x: NDArray[np.floating],
    first_x: NDArray[np.floating],
    scale_y: NDArray[np.floating],
    first_y: NDArray[np.floating],
) -> Floats:
    """Return the maps that read position scale * i + first for output pixel i: (N, 2, 3).

    imagenet_preprocessing.py:562-564 resizes without half-pixel centers and without antialiasing:
    output pixel i is read at i * scale. DALI's warp places pixel i at i + 1/2, so the half is put
    in here and comes out there.
    """
    grids = np.zeros((len(scale_x), 2, 3), np.float32)
    grids[:, 0, 0], grids[:, 0, 2] = scale_x, first_x + 0.5 - 0.5 * scale_x
    grids[:, 1, 1], grids[:, 1, 2] = scale_y, first_y + 0.5 - 0.5 * scale_y
    return grids
