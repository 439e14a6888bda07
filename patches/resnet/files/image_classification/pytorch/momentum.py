"""What LARS and SGD share: momentum as Keras has it, for all tensors at once.

The learning rate is a tensor, nothing waits for the device, and every operation can be captured in
a CUDA graph. Gradients arrive averaged over all ranks.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


class Momentum:
    """v <- m v - lr d;  w <- w + v.

    The rate is inside the velocity. torch.optim.SGD and apex's FusedSGD keep it outside, which is
    another method while the rate changes.
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

    def decayed(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return those tensors, one for each parameter, whose parameters are decayed."""
        return [tensors[index] for index in self._decayed]

    def advance(self, directions: Sequence[Tensor], learning_rate: Tensor) -> None:
        """Move velocities and parameters; `directions` (fp32, in parameter order) are used up."""
        torch._foreach_mul_(directions, learning_rate)
        torch._foreach_mul_(self.velocities, self.momentum)
        torch._foreach_sub_(self.velocities, directions)
        torch._foreach_add_(self.parameters, self.velocities)
