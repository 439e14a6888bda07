"""LARS by the reference's equations (lars_optimizer.py:128-185), for all tensors at once."""

from collections.abc import Sequence

import torch
from torch import Tensor

from image_classification.pytorch.momentum import Momentum

ETA = 0.001  # lars_optimizer.py:67, "eeta"
# lars_optimizer.py:109: `epsilon or backend_config.epsilon()`, and the flag's 0.0 is false. Logged
# is the flag (ruleset 4.0.0 demands 0.0), in effect is this.
EPSILON = 1e-7


class Lars(Momentum):
    """Layer-wise adaptive rate scaling with momentum.

    decayed:  d = ratio (g + wd w);  ratio = eta ||w|| / (||g|| + wd ||w|| + eps), 1 at a norm of 0
    others:   d = g
    """

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], learning_rate: Tensor) -> None:
        """Update the parameters; `gradients` (fp32, in parameter order) are used up."""
        weights, directions = self.decayed(self.parameters), self.decayed(gradients)
        ratios = self._ratios(weights, directions)  # before decay is added
        torch._foreach_add_(directions, weights, alpha=self.weight_decay)
        torch._foreach_mul_(directions, list(ratios.unbind()))
        self.advance(gradients, learning_rate)

    def _ratios(self, weights: list[Tensor], gradients: list[Tensor]) -> Tensor:
        """Return the trust ratio of each decayed tensor: (tensors,), lars_optimizer.py:130-141."""
        w = torch.stack(torch._foreach_norm(weights))  # noqa: SLF001
        g = torch.stack(torch._foreach_norm(gradients))  # noqa: SLF001
        ratio = ETA * w / (g + self.weight_decay * w + EPSILON)
        return torch.where((w > 0) & (g > 0), ratio, torch.ones_like(ratio))
