"""SGD with momentum by the reference's equations (common.py:214-218), for all tensors at once.

The learning rate is a tensor and sits inside the velocity, as Keras has it; torch.optim.SGD keeps
it outside, which is another method while the rate changes. Capturable in a CUDA graph.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


class Sgd:
    """v <- m v - lr g;  w <- w + v, with the gradient of the L2 loss, 2 wd w, in g.

    The reference puts wd * sum(w**2) into the loss, without a half (resnet_runnable.py:284-296), so
    decay works twice as strongly as the logged value suggests.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        decayed: Sequence[bool],
        *,
        momentum: float,
        weight_decay: float,
    ) -> None:
        self.parameters = list(parameters)
        self.velocities = [torch.zeros_like(parameter) for parameter in parameters]
        self.momentum, self.weight_decay = momentum, weight_decay
        self._decayed = [index for index, chosen in enumerate(decayed) if chosen]

    @property
    def state(self) -> list[Tensor]:
        """Every tensor that a step changes."""
        return [*self.parameters, *self.velocities]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], learning_rate: Tensor) -> None:
        """Update the parameters; `gradients` (fp32, in parameter order) are used up."""
        every = list(gradients)
        torch._foreach_add_(
            [every[index] for index in self._decayed],
            [self.parameters[index] for index in self._decayed],
            alpha=2.0 * self.weight_decay,
        )
        torch._foreach_mul_(every, learning_rate)
        torch._foreach_mul_(self.velocities, self.momentum)
        torch._foreach_sub_(self.velocities, every)
        torch._foreach_add_(self.parameters, self.velocities)
