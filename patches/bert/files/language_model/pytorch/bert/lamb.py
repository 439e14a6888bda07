"""Reduced gradients to new weights by the reference's LAMB; lamb_optimizer_v1.py:129-186.

With t = 1, 2, ... and a hat for the bias correction:

    m = b1 m + (1 - b1) g          v = b2 v + (1 - b2) g^2
    u = m^ / (sqrt(v^) + eps)      (eps outside the root)
    u = u + wd w                   where the variable is adapted
    w = w - lr |w| / |u| u         ratio 1 where either norm is 0 or the variable is not adapted

It works on one share of the flat buffers, in fp32, and never waits for the device: rates and bias
corrections of all steps lie in a table there, indexed by a counter there. So it can be captured in
a CUDA graph, and sharded over ranks, each of which then knows a part of every norm.

`Lamb.compute_plain` is the equation in PyTorch; `apex_lamb` has the same in apex's kernels.
"""

from collections.abc import Callable

import torch
from bert.config import Hyperparameters
from bert.flat import Flat
from bert.schedule import learning_rate
from torch import Tensor

from pytorch_common import distributed

Compute = Callable[[Tensor, Tensor], None]  # gradients, (rate, 1 - b1^t, 1 - b2^t)


class Lamb:
    """LAMB on share `number` of `shares` of the flat buffers; of all of them by default."""

    def __init__(
        self, flat: Flat, values: Hyperparameters, *, number: int = 0, shares: int = 1
    ) -> None:
        self.values, self.shares = values, shares
        self.compute: Compute = self.compute_plain
        self.moments = moments  # or the same, compiled
        self.weights = flat.share(flat.weights, number)  # what the network computes with
        self.master = flat.share(flat.master, number)
        if flat.weights is not flat.master and shares > 1:
            self.master = self.master.clone()  # so that the other shares can be freed
        self.m = torch.zeros_like(self.master)
        self.v = torch.zeros_like(self.master)
        self.u = torch.zeros_like(self.master)
        device = self.master.device
        self.table = _table(values).to(device)  # float32 [steps, 3]
        self.steps_taken = torch.zeros(1, dtype=torch.int64, device=device)
        pieces = [p for p in flat.pieces(number, shares) if flat.variables[p.variable].adapted]
        self.w_pieces = [self.master[p.start : p.stop] for p in pieces]
        self.u_pieces = [self.u[p.start : p.stop] for p in pieces]
        numbers = [p.variable for p in pieces]
        self.piece_numbers = torch.tensor(numbers, dtype=torch.int64, device=device)
        self.variable_count = len(flat.variables)

    @torch.no_grad()
    def step(self, gradients: Tensor) -> None:
        """Update this share of the weights with its gradients, of any floating type."""
        now = self.table.index_select(0, self.steps_taken)[0]
        self.steps_taken.add_(1).clamp_(max=len(self.table) - 1)
        self.compute(gradients, now)
        if self.weights.dtype != self.master.dtype:
            self.weights.copy_(self.master)

    def compute_plain(self, gradients: Tensor, now: Tensor) -> None:
        """Update master weights and moments; `now` is this step's row of the table."""
        values = self.values
        rate, correction1, correction2 = now.unbind()
        self.moments(
            gradients,
            self.m,
            self.v,
            self.u,
            torch.stack([correction1, correction2]),
            betas=(values.opt_lamb_beta_1, values.opt_lamb_beta_2),
            epsilon=values.opt_lamb_epsilon,
        )
        if self.u_pieces:
            decay = values.opt_lamb_weight_decay_rate
            torch._foreach_add_(self.u_pieces, self.w_pieces, alpha=decay)
        ratios = self._ratios()
        if self.u_pieces:
            torch._foreach_mul_(self.u_pieces, list(ratios.unbind()))
        self.master.addcmul_(self.u, rate, value=-1.0)

    def _ratios(self) -> Tensor:
        """Return |w| / |u| of the variable of each adapted piece [pieces]."""
        squares = self.table.new_zeros(2, self.variable_count)
        if self.u_pieces:
            norms = [
                torch.stack(torch._foreach_norm(pieces))  # noqa: SLF001 - public name is missing
                for pieces in (self.w_pieces, self.u_pieces)
            ]
            squares.index_add_(1, self.piece_numbers, torch.stack(norms).square())
        if self.shares > 1:
            distributed.sum_(squares)
        w, u = squares.sqrt().index_select(1, self.piece_numbers)  # [pieces] each
        return torch.where((w > 0) & (u > 0), w / u, torch.ones_like(w))


def moments(
    gradients: Tensor,
    m: Tensor,
    v: Tensor,
    u: Tensor,
    corrections: Tensor,
    *,
    betas: tuple[float, float],
    epsilon: float,
) -> None:
    """Update m and v in place and write the bias-corrected quotient to u. All flat, one pass."""
    g = gradients.float()
    m.mul_(betas[0]).add_(g, alpha=1 - betas[0])
    v.mul_(betas[1]).addcmul_(g, g, value=1 - betas[1])
    torch.div(v, corrections[1], out=u)
    u.sqrt_().add_(epsilon)
    torch.div(m / corrections[0], u, out=u)


def _table(values: Hyperparameters) -> Tensor:
    """Compute (learning rate, 1 - b1^t, 1 - b2^t) for all steps in float64: float32 [steps, 3].

    The last row is for steps past the schedule, where the rate stays at its end.
    """
    steps = range(values.opt_learning_rate_training_steps + 1)
    rows = [
        (
            learning_rate(step, values),
            1 - values.opt_lamb_beta_1 ** (step + 1),
            1 - values.opt_lamb_beta_2 ** (step + 1),
        )
        for step in steps
    ]
    return torch.tensor(rows, dtype=torch.float64).float()
