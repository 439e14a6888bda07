"""A data directory to labelled compressed images, by number: class folders or packed shards.

Opening one reads names, sizes and indices, never an image; so it may happen before the clock
starts. Reading an image happens after. It never decodes and never skips a sample.
"""

import mmap
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from image_classification.pytorch import jpeg
from pytorch_common.failure import RunError

READERS = 16  # threads that wait for storage, each rank
_INDEX_FIELDS = 4  # DALI's webdataset index v1.2: extension, offset, size, name
_PAGE = mmap.ALLOCATIONGRANULARITY

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.int64]


class Samples(Protocol):
    """Numbered samples of one split."""

    def __len__(self) -> int:
        """Return how many there are."""

    def name(self, number: int) -> str:
        """Return where a sample lies, for messages."""

    def prefetch(self, numbers: Numbers) -> None:
        """Ask storage for samples that will be read soon."""

    def read(self, numbers: Numbers) -> tuple[list[Bytes], Numbers]:
        """Return the compressed images and their labels."""


def open_split(root: Path, split: str, *, classes: int, expected: int) -> Samples:
    """Open train/ or validation/, in whichever form it is.

    Raises RunError when it is absent, of another size than the configuration says, or damaged as
    far as names, sizes and indices show.
    """
    directory = root / split
    if not directory.is_dir():
        raise RunError(f"{directory}: no such directory; mount the prepared data set at {root}.")
    shards = sorted(directory.glob("*.tar"))
    samples: Samples = Shards(shards, classes) if shards else Folders(directory, classes)
    if len(samples) != expected:
        raise RunError(
            f"{directory}: holds {len(samples)} images, but the configuration says {expected};"
            " prepare the data set again."
        )
    return samples


def image_sizes(samples: Samples, numbers: Numbers, images: Sequence[Bytes]) -> Numbers:
    """Return (height, width) of each image: (N, 2). Raises RunError naming a damaged one."""
    sizes = np.empty((len(images), 2), np.int64)
    for row, (number, image) in enumerate(zip(numbers, images, strict=True)):
        try:
            sizes[row] = jpeg.size(image.data)
        except ValueError as error:
            raise RunError(
                f"{samples.name(int(number))}: {error}; restore this file and verify the data set."
            ) from error
    return sizes


class Folders:
    """`<class>/<image>`, classes numbered in sorted order, as ImageNet is distributed."""

    def __init__(self, directory: Path, classes: int) -> None:
        folders = sorted(entry.path for entry in os.scandir(directory) if entry.is_dir())
        if len(folders) != classes:
            raise RunError(
                f"{directory}: holds {len(folders)} class folders, but the model has {classes}"
                " classes; prepare the data set again."
            )
        images = [sorted(entry.path for entry in os.scandir(folder)) for folder in folders]
        self._paths = [path for folder in images for path in folder]
        self._labels = np.repeat(np.arange(classes), [len(folder) for folder in images])
        self._pool = ThreadPoolExecutor(READERS)

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self._paths)

    def name(self, number: int) -> str:
        """Return the path of an image."""
        return self._paths[number]

    def prefetch(self, numbers: Numbers) -> None:
        """Nothing: an open file is needed for it, and reading is already parallel."""

    def read(self, numbers: Numbers) -> tuple[list[Bytes], Numbers]:
        """Read whole files, several at once."""
        parts = np.array_split(numbers, min(READERS, len(numbers)))
        images = [image for part in self._pool.map(self._read_some, parts) for image in part]
        return images, self._labels[numbers]

    def _read_some(self, numbers: Numbers) -> list[Bytes]:
        return [np.fromfile(self._paths[number], np.uint8) for number in numbers]


class Shards:
    """Uncompressed tar files of `<key>.jpg` and `<key>.cls`, DALI's index beside each."""

    def __init__(self, paths: Sequence[Path], classes: int) -> None:
        self._classes = classes
        self._maps, self._views, self._names = [], [], []
        rows: list[NDArray[np.int64]] = []
        for shard, path in enumerate(paths):
            entries, names = _index(path)
            with path.open("rb") as file:
                whole = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
            self._maps.append(whole)
            self._views.append(np.frombuffer(whole, np.uint8))
            self._names.append((path, names))
            rows.append(np.insert(entries, 0, shard, axis=1))
        # (samples, 5): shard, then offset and size of the image and of its label
        self._rows = np.concatenate(rows)
        self._first = np.cumsum([0, *(len(part) for part in rows)])
        self._pool = ThreadPoolExecutor(READERS)

    def __len__(self) -> int:
        """Return how many samples the indices list."""
        return len(self._rows)

    def name(self, number: int) -> str:
        """Return shard and member."""
        shard = self._rows[number, 0]
        path, names = self._names[shard]
        return f"{path}: {names[number - self._first[shard]]}"

    def prefetch(self, numbers: Numbers) -> None:
        """Tell the kernel to read these samples into its page cache, without waiting."""
        for part in np.array_split(self._rows[numbers], READERS):
            self._pool.submit(self._advise, part)

    def _advise(self, rows: Numbers) -> None:
        for shard, start, length, label_start, label_length in rows.tolist():
            first = min(start, label_start) // _PAGE * _PAGE
            last = max(start + length, label_start + label_length)
            self._maps[shard].madvise(mmap.MADV_WILLNEED, first, last - first)

    def read(self, numbers: Numbers) -> tuple[list[Bytes], Numbers]:
        """Return views into the mapped shards: no copy is made here."""
        rows = self._rows[numbers].tolist()
        views = self._views
        images = [views[shard][start : start + length] for shard, start, length, _, _ in rows]
        texts = [bytes(views[shard][at : at + length]) for shard, _, _, at, length in rows]
        labels = np.empty(len(numbers), np.int64)
        for row, (number, text) in enumerate(zip(numbers, texts, strict=True)):
            if not text.isdigit() or int(text) >= self._classes:
                raise RunError(
                    f"{self.name(int(number))}: its label is {text!r}, not a number below"
                    f" {self._classes}; prepare this shard again."
                )
            labels[row] = int(text)
        return images, labels


def _index(path: Path) -> tuple[NDArray[np.int64], list[str]]:
    """Return offsets and sizes of image and label of each sample (N, 4), and the image names."""
    index = path.with_suffix(".idx")
    remedy = "prepare this shard again"
    try:
        version, *lines = index.read_text(encoding="ascii").splitlines()
        entries, names = [], []
        for line in lines:
            fields = line.split()
            parts = {
                fields[at]: fields[at + 1 : at + _INDEX_FIELDS]
                for at in range(0, len(fields), _INDEX_FIELDS)
            }
            entries.append([int(parts[kind][at]) for kind in ("jpg", "cls") for at in (0, 1)])
            names.append(parts["jpg"][2])
    except FileNotFoundError:
        raise RunError(f"{index}: no such file; {remedy}.") from None
    except (ValueError, KeyError, IndexError, OSError) as error:
        raise RunError(f"{index}: is no webdataset index v1.2 ({error!r}); {remedy}.") from error
    if version.split() != ["v1.2", str(len(entries))] or not entries:
        raise RunError(f"{index}: lists {len(entries)} samples, but begins {version!r}; {remedy}.")
    table = np.array(entries, np.int64)
    needed, present = int((table[:, ::2] + table[:, 1::2]).max()), path.stat().st_size
    if present < needed:
        raise RunError(f"{path}: is cut off at {present} of {needed} bytes; {remedy}.")
    return table, names
