"""SGD with momentum by the reference's equations (common.py:214-218), for all tensors at once."""

from collections.abc import Sequence

import torch
from torch import Tensor

from image_classification.pytorch.momentum import Momentum


class Sgd(Momentum):
    """d = g + 2 wd w for what is decayed, the gradient for the rest.

    The reference puts wd * sum(w**2) into the loss, without a half (resnet_runnable.py:284-296), so
    decay works twice as strongly as the logged value suggests.
    """

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], learning_rate: Tensor) -> None:
        """Update the parameters; `gradients` (fp32, in parameter order) are used up."""
        decayed = self.decayed(self.parameters)
        torch._foreach_add_(self.decayed(gradients), decayed, alpha=2.0 * self.weight_decay)
        self.advance(gradients, learning_rate)
