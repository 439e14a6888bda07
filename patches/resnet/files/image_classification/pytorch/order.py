"""A seed to the samples and random numbers of every step, the same on any number of ranks.

Each epoch is one permutation of the whole training set; batches follow the endless stream of them
and straddle epochs, as the reference's do (imagenet_preprocessing.py:107-136). It reads nothing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from image_classification.pytorch import crops

_ORDER, _AUGMENTATION = 0, 1  # streams of random numbers that never meet

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One rank's part of the stream of micro-batches."""

    seed: int
    samples: int  # in the training set
    micro_batch: int
    rank: int
    world_size: int

    def numbers(self, micro_step: int) -> Numbers:
        """Return this rank's samples of a micro-step (counted from 0): (micro_batch,)."""
        first = (micro_step * self.world_size + self.rank) * self.micro_batch
        positions = np.arange(first, first + self.micro_batch)
        epochs, places = np.divmod(positions, self.samples)
        numbers = np.empty(self.micro_batch, np.int64)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            numbers[here] = _permutation(self.seed, int(epoch), self.samples)[places[here]]
        return numbers

    def draws(self, micro_step: int) -> crops.Draws:
        """Return the random numbers of those samples, in the same order."""
        stream = micro_step * self.world_size + self.rank
        return crops.draw(_generator(self.seed, _AUGMENTATION, stream), self.micro_batch)


def evaluation(samples: int, batch: int, rank: int, world_size: int) -> list[Numbers]:
    """Return this rank's evaluation batches; -1 fills the last, so that all are alike.

    Every sample is in exactly one batch of one rank, and all ranks have equally many batches.
    """
    mine = np.arange(rank, samples, world_size)
    batches = -(-samples // (world_size * batch))
    padded = np.full(batches * batch, -1, np.int64)
    padded[: len(mine)] = mine
    return list(padded.reshape(batches, batch))


_LAST: dict[tuple[int, int, int], Numbers] = {}


def _permutation(seed: int, epoch: int, samples: int) -> Numbers:
    """Return the order of an epoch. The last two are kept: a batch may need both."""
    key = (seed, epoch, samples)
    if key not in _LAST:
        while len(_LAST) > 1:
            del _LAST[min(_LAST)]
        _LAST[key] = _generator(seed, _ORDER, epoch).permutation(samples)
    return _LAST[key]


def _generator(seed: int, stream: int, index: int) -> np.random.Generator:
    """Return an independent generator: Philox is counter-based, keyed by seed and place."""
    return np.random.Generator(np.random.Philox(key=(seed << 64) | (stream << 63) | index))
