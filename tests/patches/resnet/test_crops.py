import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_classification.pytorch import crops

REAL_AREA = (0.05, 1.0)


def training(sizes, seed=0, *, output=224, flip=0.5):
    draws = crops.draw(np.random.default_rng(seed), len(sizes))
    return crops.training(sizes, draws, output, area=REAL_AREA, flip_probability=flip)


def areas(height, width, count=20_000):
    windows = training(np.tile([height, width], (count, 1)))
    return windows.shapes.prod(axis=1) / (height * width), windows


@pytest.mark.parametrize(
    ("height", "width", "mean", "median"), [(375, 500, 0.388, 0.356), (500, 500, 0.421, 0.387)]
)
def test_crop_areas_are_distributed_as_in_the_reference(height, width, mean, median):
    """Measured on 6,000 draws of TensorFlow's kernel; standard error of a mean about 0.003."""
    share, _ = areas(height, width)
    assert share.min() == pytest.approx(0.1, abs=0.001)
    assert share.mean() == pytest.approx(mean, abs=0.01)
    assert np.median(share) == pytest.approx(median, abs=0.015)


def test_aspects_are_uniform_between_three_quarters_and_one_third_more():
    _, windows = areas(500, 500)
    aspect = windows.shapes[:, 1] / windows.shapes[:, 0]
    assert 0.745 < aspect.min() < 0.76
    assert 1.32 < aspect.max() < 1.335
    assert aspect.mean() == pytest.approx(1.035, abs=0.01)


@given(
    sizes=st.lists(st.tuples(st.integers(1, 700), st.integers(1, 700)), min_size=1, max_size=20),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_a_window_always_lies_inside_its_image(sizes, seed):
    sizes = np.array(sizes)
    windows = training(sizes, seed)
    assert (windows.starts >= 0).all()
    assert (windows.shapes > 0).all()
    assert (windows.starts + windows.shapes <= sizes).all()


def test_half_of_the_images_are_flipped_and_none_when_told_so():
    sizes = np.tile([300, 400], (4000, 1))
    flipped = training(sizes).grids[:, 0, 0] < 0
    assert flipped.mean() == pytest.approx(0.5, abs=0.03)
    assert not (training(sizes, flip=0.0).grids[:, 0, 0] < 0).any()


def test_equal_draws_give_equal_windows_in_any_grouping():
    sizes = np.tile([300, 400], (8, 1))
    draws = crops.draw(np.random.default_rng(3), 8)
    whole = crops.training(sizes, draws, 224, area=REAL_AREA, flip_probability=0.5)
    half = slice(4, 8)
    part = crops.training(sizes[half], draws[half], 224, area=REAL_AREA, flip_probability=0.5)
    assert np.array_equal(whole.grids[half], part.grids)


def test_short_sides_come_out_one_pixel_short_as_often_as_in_the_reference():
    sides = np.arange(32, 3000)
    scales = np.float32(256) / sides.astype(np.float32)
    resized = (sides.astype(np.float32) * scales).astype(np.int64)
    short = sides[resized == 255]
    assert len(short) == 355
    assert list(short[:6]) == [41, 47, 55, 61, 82, 83]
    windows = crops.evaluation(np.array([[41, 41], [42, 42]]), 224, 256)
    assert windows.grids[0, 0, 0] == np.float32(41) / np.float32(255)
    assert windows.grids[1, 0, 0] == np.float32(42) / np.float32(256)


def test_evaluation_reads_the_middle():
    windows = crops.evaluation(np.array([[256, 512]]), 224, 256)
    assert windows.starts.tolist() == [[0, 0]]
    assert windows.shapes.tolist() == [[256, 512]]
    # Output pixel 0 is input pixel (512 - 224) / 2 = 144 across and (256 - 224) / 2 = 16 down.
    assert windows.grids[0].tolist() == [[1, 0, 144], [0, 1, 16]]
