import dataclasses

import numpy as np
import pytest
import torch

from image_classification.pytorch import crops, data, order
from image_classification.pytorch.samples import open_split
from pytorch_common.failure import RunError
from tests.patches.resnet.runs import write_folders

SIZE = 24


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    write_folders(root, "train", [3, 3], size=(37, 53))
    return open_split(root, "train", classes=2, expected=6)


def loading(batch):
    return data.Loading(
        batch=batch,
        image_size=SIZE,
        device=torch.device("cpu"),
        dtype=torch.float32,
        threads=1,
        hardware_decoder_load=0.5,
    )


def legacy_resize(image, height, width):
    """TensorFlow 1's bilinear resize, written again: no half-pixel centers, no antialiasing."""
    image = image.astype(np.float64)
    ys = np.arange(height) * (image.shape[0] / height)
    xs = np.arange(width) * (image.shape[1] / width)
    top, left = ys.astype(int), xs.astype(int)
    bottom = np.minimum(top + 1, image.shape[0] - 1)
    right = np.minimum(left + 1, image.shape[1] - 1)
    fx, fy = (xs - left)[None, :, None], (ys - top)[:, None, None]
    upper = image[top][:, left] * (1 - fx) + image[top][:, right] * fx
    lower = image[bottom][:, left] * (1 - fx) + image[bottom][:, right] * fx
    return upper * (1 - fy) + lower * fy


def batch_of(loader, count):
    images, labels = torch.zeros(count, SIZE, SIZE, 3), torch.zeros(count, dtype=torch.int64)
    loader.load(images, labels)
    return images.numpy(), labels.numpy()


def test_training_images_are_the_references_crop_flip_and_resize(samples):
    share = order.Share(seed=3, samples=6, micro_batch=6, rank=0, world_size=1)
    items = data.training_items(
        samples, share, image_size=SIZE, crop_area=(0.05, 1.0), flip_probability=0.5
    )
    loader = data.Loader(samples, items, loading(6))
    loader.begin()
    for step in range(3):
        images, labels = batch_of(loader, 6)
        numbers = share.numbers(step)
        windows = crops.training(
            np.tile([37, 53], (6, 1)),
            share.draws(step),
            SIZE,
            area=(0.05, 1.0),
            flip_probability=0.5,
        )
        assert labels.tolist() == [int(number >= 3) for number in numbers]
        for row, number in enumerate(numbers):
            pixels = data.decode(samples.read(np.array([number]))[0][0])
            (y, x), (height, width) = windows.starts[row], windows.shapes[row]
            crop = pixels[y : y + height, x : x + width]
            if windows.grids[row, 0, 0] < 0:
                crop = crop[:, ::-1]
            expected = legacy_resize(crop, SIZE, SIZE) - data.MEANS
            assert np.abs(images[row] - expected).max() < 0.01


def test_evaluation_images_are_the_references_resize_and_middle(samples):
    batches = order.evaluation(6, 4, 0, 1)
    items = data.evaluation_items(samples, batches, image_size=SIZE, resize_size=32)
    loader = data.Loader(samples, items, loading(4))
    loader.begin()
    images, labels = batch_of(loader, 4)
    assert labels.tolist() == [0, 0, 0, 1]
    pixels = data.decode(samples.read(np.array([3]))[0][0])
    resized = legacy_resize(pixels, 32, 45)  # int(53 * 32 / 37)
    expected = resized[4 : 4 + SIZE, 10 : 10 + SIZE] - data.MEANS
    assert np.abs(images[3] - expected).max() < 0.01
    _, last = batch_of(loader, 4)
    assert last.tolist() == [1, 1, -1, -1]


def test_warming_up_touches_no_sample(samples):
    def touched():
        raise AssertionError("a sample was read before the clock")
        yield

    loader = data.Loader(samples, touched(), loading(2))
    loader.warm_up()


def test_after_warming_up_the_first_batch_is_the_data_sets(samples):
    items = data.evaluation_items(
        samples, order.evaluation(6, 2, 0, 1), image_size=SIZE, resize_size=32
    )
    loader = data.Loader(samples, items, loading(2))
    loader.warm_up()
    loader.begin()
    assert [batch_of(loader, 2)[1].tolist() for _ in range(4)] == [[0, 0], [0, 1], [1, 1], [0, 0]]


def test_an_image_that_cannot_be_decoded_is_named(tmp_path):
    write_folders(tmp_path, "train", [2, 2], size=(37, 53))
    victim = tmp_path / "train/class-01/0000.JPEG"
    # A lossless JPEG by its marker: the header is whole, but no decoder here reads it.
    victim.write_bytes(victim.read_bytes().replace(b"\xff\xc0", b"\xff\xc3"))
    samples = open_split(tmp_path, "train", classes=2, expected=4)
    items = data.evaluation_items(
        samples, order.evaluation(4, 2, 0, 1), image_size=SIZE, resize_size=32
    )
    loader = data.Loader(samples, items, loading(2))
    loader.begin()
    assert batch_of(loader, 2)[1].tolist() == [0, 0]
    with pytest.raises(RunError, match=r"class-01/0000.JPEG: cannot be decoded; restore"):
        batch_of(loader, 2)


def test_a_pipeline_that_fails_on_good_images_says_all_it_knows(samples, monkeypatch):
    items = data.evaluation_items(
        samples, order.evaluation(6, 2, 0, 1), image_size=SIZE, resize_size=32
    )
    loader = data.Loader(samples, items, loading(2))
    loader.begin()

    def fail():
        raise RuntimeError("Critical error in pipeline:\nCUDA allocation failed")

    monkeypatch.setattr(loader._pipeline, "share_outputs", fail)
    with pytest.raises(RunError, match=r"Critical error in pipeline: CUDA allocation failed\)\.$"):
        batch_of(loader, 2)


class Stream:
    """A CUDA stream of a device so slow that work is done only when the host waits for it."""

    def __init__(self, _=None):
        self.queue = []

    def synchronize(self):
        while self.queue:
            self.queue.pop(0)()


class Event:
    def record(self):
        pass

    def query(self):
        return True


def test_a_batch_is_handed_on_only_when_its_copy_is_done(monkeypatch):
    """feed_ndarray only queues the copy where it is given a stream (DALI's torch_utils.py)."""
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(
        data,
        "feed_ndarray",
        lambda output, buffer, cuda_stream: cuda_stream.queue.append(lambda: buffer.copy_(output)),
    )
    staging = data._Staging(loading(2))
    images, labels = torch.zeros(2, SIZE, SIZE, 3), torch.zeros(2, dtype=torch.int64)
    for batch in range(1, 5):
        outputs = [torch.full_like(images, batch), torch.full_like(labels, batch)]
        staging.pass_on(outputs, (images, labels))
        for output in outputs:
            output.zero_()  # released: DALI writes its next batch there
        assert images.unique().tolist() == labels.unique().tolist() == [batch]


def test_evaluation_asks_storage_for_the_batches_to_come(samples):
    asked = []

    class Watched:
        prefetch = staticmethod(lambda numbers: asked.append(numbers.tolist()))
        read = staticmethod(samples.read)

    batches = order.evaluation(6, 1, 0, 1)
    items = data.evaluation_items(Watched(), batches, image_size=SIZE, resize_size=32)
    read = [next(items)[0].tolist() for _ in range(9)]
    assert asked == [*read[data.DEPTH :], [3], [4], [5]]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: runs show more")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_gpus_pipeline_takes_the_arguments_it_is_given(dtype):
    """Without a GPU it cannot be built, but DALI checks names and types of arguments at once."""
    on_gpu = dataclasses.replace(loading(2), device=torch.device("cuda", 0), dtype=dtype)
    with pytest.raises(RuntimeError, match="a GPU DALI pipeline while CUDA is not"):
        data._pipeline(lambda: data._synthetic(on_gpu), on_gpu).serialize()
