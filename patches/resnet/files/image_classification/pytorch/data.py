"""Samples to batches on the device: read, decode, crop, flip, resize, subtract the mean, in DALI.

One pipeline a rank and a purpose. Decoding runs on the GPU where there is one, else on the CPU.
Before `begin` a pipeline sees synthetic JPEGs only, so that warming it up touches no data set.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from nvidia import dali
from nvidia.dali import fn, types
from nvidia.dali.plugin.pytorch import feed_ndarray
from torch import Tensor

from image_classification.pytorch import crops, jpeg
from image_classification.pytorch.order import Share
from image_classification.pytorch.samples import Bytes, Numbers, Samples, image_sizes
from pytorch_common.distributed import wait_for
from pytorch_common.failure import RunError

MEANS = (123.68, 116.78, 103.94)  # imagenet_preprocessing.py:55-58; no division, no /255
DEPTH = 3  # batches in flight
_WARM_SIZE = (375, 500)  # pixels, the typical image: what buffers should be ready for
_LARGEST = (6430, 5980)  # height and width that hold all of ImageNet (DALI's ResNet-50 example)

Item = tuple[
    list[Bytes], NDArray[np.int32], NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """How a pipeline is built."""

    batch: int
    image_size: int
    device: torch.device
    dtype: torch.dtype  # of the images handed out: float32, or float16
    threads: int
    hardware_decoder_load: float


class Batches(Protocol):
    """What training needs of a source of batches."""

    def load(self, images: Tensor, labels: Tensor) -> None:
        """Fill (N, S, S, 3) images and (N,) labels with the next micro-batch."""


class Loader:
    """Batches of a data set, in an order that `items` decides."""

    def __init__(
        self, samples: Samples, items: Iterator[tuple[Numbers, Item]], loading: Loading
    ) -> None:
        self._samples, self._items, self._loading = samples, items, loading
        self._recent: deque[Numbers] = deque(maxlen=2 * DEPTH)  # to name what cannot be decoded
        self._begun = False
        self._fed = 0  # batches the pipeline has taken
        self._staging = _Staging(loading) if loading.device.type == "cuda" else None
        self._pipeline = _pipeline(self._next, loading)
        self._pipeline.build()

    def warm_up(self) -> None:
        """Decode synthetic batches until every buffer exists."""
        self._pipeline.schedule_run()  # the first call fills the whole queue
        for _ in range(self._fed):
            self._pipeline.share_outputs()
            self._pipeline.release_outputs()

    def begin(self) -> None:
        """Start reading the data set: the clock must run by now."""
        self._begun = True
        for _ in range(DEPTH):
            self._pipeline.schedule_run()

    def load(self, images: Tensor, labels: Tensor) -> None:
        """Fill (N, S, S, 3) images and (N,) labels with the next batch."""
        try:
            outputs = [output.as_tensor() for output in self._pipeline.share_outputs()]
        except RuntimeError as error:
            raise self._undecodable(error) from error
        if self._staging is None:
            feed_ndarray(outputs[0], images)
            feed_ndarray(outputs[1], labels)
        else:
            self._staging.pass_on(outputs, (images, labels))
        self._pipeline.release_outputs()
        self._pipeline.schedule_run()

    def _next(self) -> Item:
        self._fed += 1
        if not self._begun:
            return _synthetic(self._loading)
        numbers, item = next(self._items)
        self._recent.append(numbers)
        return item

    def _undecodable(self, error: RuntimeError) -> RunError:
        """Say which image stopped the pipeline, by decoding the last ones one by one."""
        for number in np.unique(np.concatenate(self._recent)):
            images, _ = self._samples.read(np.array([number]))
            try:
                decode(images[0])
            except RuntimeError:
                return RunError(
                    f"{self._samples.name(int(number))}: cannot be decoded; restore this file and"
                    " verify the data set."
                )
        reason = " ".join(str(error).split())
        return RunError(
            "the data pipeline cannot prepare a batch whose images all decode on the CPU; verify"
            f" the data set and look for what else uses the GPU's memory ({reason})."
        )


class _Staging:
    """Two sets of buffers between DALI and training.

    DALI's buffers may be released only when they are copied, and given a stream DALI only queues
    its copy. On a stream of its own the host can wait for the copy without waiting for the training
    steps under way, but for the one that read this set before.
    """

    def __init__(self, loading: Loading) -> None:
        size, device = loading.image_size, loading.device
        self._stream = torch.cuda.Stream(device)
        self._turn = 0
        self._sets = [
            (
                torch.empty((loading.batch, size, size, 3), dtype=loading.dtype, device=device),
                torch.empty(loading.batch, dtype=torch.int64, device=device),
            )
            for _ in range(2)
        ]
        self._used = [torch.cuda.Event() for _ in range(2)]

    def pass_on(self, outputs: Sequence[object], targets: Sequence[Tensor]) -> None:
        """Copy outputs to staging now, and from there to the targets in training's stream."""
        buffers, used = self._sets[self._turn], self._used[self._turn]
        self._turn = 1 - self._turn
        wait_for(used)
        for output, buffer in zip(outputs, buffers, strict=True):
            feed_ndarray(output, buffer, cuda_stream=self._stream)
        self._stream.synchronize()
        for buffer, target in zip(buffers, targets, strict=True):
            target.copy_(buffer)
        used.record()


def training_items(
    samples: Samples,
    share: Share,
    *,
    image_size: int,
    crop_area: tuple[float, float],
    flip_probability: float,
) -> Iterator[tuple[Numbers, Item]]:
    """Yield micro-batches for ever, the next one's bytes asked for ahead."""
    micro_step, ahead = 0, DEPTH
    while True:
        samples.prefetch(share.numbers(micro_step + ahead))
        numbers = share.numbers(micro_step)
        images, labels = samples.read(numbers)
        windows = crops.training(
            image_sizes(samples, numbers, images),
            share.draws(micro_step),
            image_size,
            area=crop_area,
            flip_probability=flip_probability,
        )
        yield numbers, (images, windows.starts, windows.shapes, windows.grids, labels)
        micro_step += 1


def evaluation_items(
    samples: Samples, batches: list[Numbers], *, image_size: int, resize_size: int
) -> Iterator[tuple[Numbers, Item]]:
    """Yield the same batches for ever, bytes asked for ahead; label -1 only fills a batch."""
    while True:
        for index, numbers in enumerate(batches):
            samples.prefetch(np.maximum(batches[(index + DEPTH) % len(batches)], 0))
            present = np.maximum(numbers, 0)
            images, labels = samples.read(present)
            windows = crops.evaluation(
                image_sizes(samples, present, images), image_size, resize_size
            )
            labels = np.where(numbers < 0, -1, labels)
            yield numbers, (images, windows.starts, windows.shapes, windows.grids, labels)


def decode(image: Bytes) -> NDArray[np.uint8]:
    """Return the pixels of one image, (H, W, 3), decoded on the CPU."""
    pipeline = dali.Pipeline(batch_size=1, num_threads=1, device_id=None, prefetch_queue_depth=1)
    with pipeline:
        encoded = fn.external_source(source=lambda: [image], batch=True, dtype=types.UINT8)
        pipeline.set_outputs(
            fn.decoders.image(encoded, adjust_orientation=False, use_fast_idct=True)
        )
    pipeline.build()
    (pixels,) = pipeline.run()
    return np.array(pixels.at(0))


def inspect(samples: Samples) -> None:
    """Read every image's header and end. Raises RunError naming the first that is damaged."""
    for number in range(len(samples)):
        images, _ = samples.read(np.array([number]))
        image_sizes(samples, np.array([number]), images)


def _synthetic(loading: Loading) -> Item:
    image = np.frombuffer(jpeg.synthetic(*_WARM_SIZE), np.uint8)
    sizes = np.tile(np.array(_WARM_SIZE), (loading.batch, 1))
    windows = crops.evaluation(sizes, loading.image_size, loading.image_size)
    labels = np.full(loading.batch, -1)
    return [image] * loading.batch, windows.starts, windows.shapes, windows.grids, labels


def _pipeline(source: Callable[[], Item], loading: Loading) -> dali.Pipeline:
    """Return the one graph of all purposes: windows and grids make the difference."""
    on_gpu = loading.device.type == "cuda"
    pipeline = dali.Pipeline(
        batch_size=loading.batch,
        num_threads=loading.threads,
        device_id=loading.device.index if on_gpu else None,
        prefetch_queue_depth=DEPTH,
    )
    with pipeline:
        encoded, starts, shapes, grids, labels = fn.external_source(
            source=source,
            num_outputs=5,
            batch=True,
            dtype=[types.UINT8, types.INT32, types.INT32, types.FLOAT, types.INT64],
            ndim=[1, 1, 1, 2, 0],
        )
        windows = _decode(encoded, starts, shapes, loading)
        resized = fn.warp_affine(  # (S, S, 3): crop, flip and resize in one reading
            windows,
            matrix=grids,
            size=(loading.image_size, loading.image_size),
            dtype=types.FLOAT,
            interp_type=types.INTERP_LINEAR,
        )
        centred = fn.crop_mirror_normalize(
            resized,
            mean=list(MEANS),
            std=[1.0, 1.0, 1.0],
            dtype=types.FLOAT if loading.dtype is torch.float32 else types.FLOAT16,
            output_layout="HWC",
        )
        pipeline.set_outputs(centred, labels.gpu() if on_gpu else labels)
    return pipeline


def _decode(
    encoded: dali.pipeline.DataNode,
    starts: dali.pipeline.DataNode,
    shapes: dali.pipeline.DataNode,
    loading: Loading,
) -> dali.pipeline.DataNode:
    """Decode the windows. TensorFlow ignores the EXIF orientation, so we do."""
    if loading.device.type != "cuda":
        # tf.image.decode_jpeg takes libjpeg's fast integer DCT by default.
        return fn.decoders.image_slice(
            encoded,
            start=starts,
            shape=shapes,
            axis_names="HW",
            adjust_orientation=False,
            use_fast_idct=True,
        )
    # The hardware engine decodes whole images; cutting them after costs a small copy.
    whole = fn.decoders.image(
        encoded,
        device="mixed",
        adjust_orientation=False,
        hw_decoder_load=loading.hardware_decoder_load,
        preallocate_height_hint=_LARGEST[0],
        preallocate_width_hint=_LARGEST[1],
    )
    return fn.slice(whole, start=starts, shape=shapes, axis_names="HW")
