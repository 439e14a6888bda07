"""The loss of every step to a verdict on the run, without ever waiting for the step under way.

A step's loss is read a fixed number of steps later, when the device has long made it: all ranks
read the same reduced value at the same step and so stop together. It keeps the losses of an epoch.
"""

import math

import torch
from torch import Tensor

from pytorch_common.distributed import wait_for
from pytorch_common.failure import DivergedError

LAG_STEPS = 4


class LossWatch:
    """Remembers reduced losses and ends a run that left its bounds."""

    def __init__(self, device: torch.device, *, limit: float) -> None:
        on_gpu = device.type == "cuda"
        self._lag = LAG_STEPS if on_gpu else 0
        self._limit = limit
        self._slots = torch.zeros(LAG_STEPS + 1, pin_memory=on_gpu)
        self._events = [torch.cuda.Event() for _ in range(LAG_STEPS + 1)] if on_gpu else []
        self._step = 0  # steps seen
        self._read = 0  # steps read
        self._losses: list[float] = []

    def see(self, loss: Tensor) -> None:
        """Note the loss (1,) of a step; raise DivergedError for that of some steps ago."""
        slot = self._step % len(self._slots)
        self._slots[slot : slot + 1].copy_(loss, non_blocking=True)
        if self._events:
            self._events[slot].record()
        self._step += 1
        self._check(self._step - self._lag)

    def epoch_losses(self) -> list[float]:
        """Wait for the losses since the last call, check and return them."""
        self._check(self._step)
        losses, self._losses = self._losses, []
        return losses

    def _check(self, until: int) -> None:
        while self._read < until:
            slot = self._read % len(self._slots)
            if self._events:
                wait_for(self._events[slot])
            loss = float(self._slots[slot])
            self._read += 1
            if not math.isfinite(loss) or loss > self._limit:
                raise DivergedError(
                    f"training diverged: the loss of step {self._read} is {loss:g}, beyond"
                    f" {self._limit:g}."
                )
            self._losses.append(loss)
