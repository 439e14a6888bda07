"""One update of the weights: micro-batches forward and backward, reduction, optimizer.

Everything a step needs stays where it is from step to step (inputs, gradients, learning rate), so
the same code runs eagerly or as a captured CUDA graph. It never waits for the device.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from image_classification.pytorch.model import ResNet
from pytorch_common import graphs
from pytorch_common.gradients import Gradients
from pytorch_common.masters import Masters


class Optimizer(Protocol):
    """LARS or SGD."""

    state: list[Tensor]

    def step(self, gradients: Sequence[Tensor], learning_rate: Tensor) -> None:
        """Update the parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What an update consists of."""

    micro_batch: int
    accumulation_steps: int
    world_size: int
    image_size: int
    label_smoothing: float
    loss_scale: float  # 1 but for fp16


@dataclass(frozen=True, slots=True, kw_only=True)
class Learner:
    """What learns: a network, its fp32 masters and gradients, and who updates them."""

    model: ResNet
    masters: Masters
    gradients: Gradients
    optimizer: Optimizer

    @property
    def state(self) -> list[Tensor]:
        """Every tensor that an update changes and the next one reads."""
        return [*self.optimizer.state, *self.masters.copies, *self.model.buffers()]


class Step:
    """Updates a learner; call it once per optimizer step."""

    def __init__(
        self,
        learner: Learner,
        shape: Shape,
        *,
        input_dtype: torch.dtype,
        forward: Callable[[Tensor], Tensor],
    ) -> None:
        weight = learner.model.stem.conv.weight
        self.learner, self._shape = learner, shape
        self._forward = forward
        self._dtype, device, size = weight.dtype, weight.device, shape.image_size
        self.images = torch.zeros(
            (shape.micro_batch, size, size, 3), dtype=input_dtype, device=device
        )
        self.labels = torch.zeros(shape.micro_batch, dtype=torch.int64, device=device)
        self.learning_rate = torch.zeros((), device=device)
        self._parts = [
            self._part(first=index == 0, last=index == shape.accumulation_steps - 1)
            for index in range(shape.accumulation_steps)
        ]

    @property
    def loss(self) -> Tensor:
        """The mean loss of the global batch, smoothing included: (1,), after the step."""
        return self.learner.gradients.loss

    def __call__(self, load: Callable[[Tensor, Tensor], None], learning_rate: float) -> None:
        """Load the micro-batches and update the weights once."""
        self.learning_rate.fill_(learning_rate)
        for part in self._parts:
            load(self.images, self.labels)
            part()

    def accumulate(self) -> list[Tensor]:
        """Return this rank's gradients, every micro-batch being what is loaded now."""
        for index in range(self._shape.accumulation_steps):
            self._accumulate(first=index == 0, last=False)  # the last one would meet other ranks
        return self._reduced()

    def inputs(self) -> Tensor:
        """Return the loaded images as the network takes them: (N, 3, S, S), channels_last."""
        return self.images.permute(0, 3, 1, 2).to(self._dtype)

    def capture(self) -> None:
        """Replace every part by its CUDA graph. Changes weights and statistics on the way."""
        self._parts = graphs.capture(self._parts)

    def _part(self, *, first: bool, last: bool) -> Callable[[], None]:
        def run() -> None:
            self._accumulate(first=first, last=last)
            if last:
                self._update()

        return run

    def _accumulate(self, *, first: bool, last: bool) -> None:
        """Add the gradient of one micro-batch to the sums."""
        shape, gradients = self._shape, self.learner.gradients
        self.learner.model.train()
        gradients.begin(first=first, last=last)
        logits = self._forward(self.inputs())  # (N, classes), fp32
        # resnet_runnable.py:270-279: (1 - s) onehot + s / K. The sum over ranks and micro-batches
        # of these shares is the mean over the global batch (accumulation averages, it never sums).
        loss = functional.cross_entropy(
            logits, self.labels, label_smoothing=shape.label_smoothing
        ) / (shape.world_size * shape.accumulation_steps)
        gradients.add_loss(loss, first=first)
        (loss * shape.loss_scale).backward()

    def _reduced(self) -> list[Tensor]:
        """Return the gradient of the global batch, in fp32, when all ranks have it."""
        gradients = self.learner.gradients
        gradients.finish()
        if self._shape.loss_scale != 1.0:
            torch._foreach_mul_(gradients.tensors, 1.0 / self._shape.loss_scale)
        return gradients.tensors

    @torch.no_grad()
    def _update(self) -> None:
        """Apply the gradient of the global batch."""
        self.learner.optimizer.step(self._reduced(), self.learning_rate)
        self.learner.masters.publish()
