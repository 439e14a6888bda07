"""A model's parameters and gradients moved into two flat buffers that their tensors are views of.

One norm, one reduction and one optimizer kernel then serve all of them. Between parameters, and at
the end, lie zeros, so that every parameter is aligned and all ranks can take equal shares.
"""

from dataclasses import dataclass

import torch
from bert.model import Bert
from bert.variables import Variable, variables
from torch import Tensor

ALIGNMENT = 64  # elements


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """The part of a variable that lies in one share of the flat buffer."""

    variable: int  # its number
    start: int  # in the share
    stop: int


class Flat:
    """The flat weights and gradients of a model, and where the variables are in them.

    `weights` and the model's parameters become views of type `dtype`; `master` keeps all weights in
    fp32 until the optimizer has taken its share (it is `weights` itself where that is fp32).
    """

    def __init__(self, model: Bert, *, shares: int = 1, dtype: torch.dtype = torch.float32) -> None:
        parameters = dict(model.named_parameters())
        offsets, end = {}, 0
        for name, parameter in parameters.items():
            offsets[name] = end
            end = _round_up(end + parameter.numel(), ALIGNMENT)
        device = next(iter(parameters.values())).device
        self.share_size = _round_up(end, ALIGNMENT * shares) // shares
        self.master = torch.zeros(self.share_size * shares, device=device)
        for name, parameter in parameters.items():
            span = slice(offsets[name], offsets[name] + parameter.numel())
            self.master[span].copy_(parameter.detach().flatten())
        self.weights = self.master.to(dtype)
        self.gradients = torch.zeros_like(self.weights)
        for name, parameter in parameters.items():
            span = slice(offsets[name], offsets[name] + parameter.numel())
            parameter.data = self.weights[span].view_as(parameter)
            parameter.grad = self.gradients[span].view_as(parameter)
        self.variables: list[Variable] = variables(model.sizes)
        self.spans: list[tuple[int, int]] = []  # of each variable, in the buffers
        for variable in self.variables:
            width = parameters[variable.parameter][:1].numel()
            start = offsets[variable.parameter] + variable.start * width
            self.spans.append((start, start + variable.rows * width))

    def release_master(self) -> None:
        """Forget the fp32 weights: the optimizer has its share of them."""
        del self.master

    def share(self, buffer: Tensor, number: int) -> Tensor:
        """Return one rank's part of a flat buffer, as a view."""
        return buffer.narrow(0, number * self.share_size, self.share_size)

    def pieces(self, number: int, shares: int) -> list[Piece]:
        """Return what lies in share `number` of `shares`: every value of every variable once."""
        low, high = len(self.weights) // shares * number, len(self.weights) // shares * (number + 1)
        return [
            Piece(variable=index, start=max(start, low) - low, stop=min(stop, high) - low)
            for index, (start, stop) in enumerate(self.spans)
            if start < high and stop > low
        ]


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
