"""fp32 masters of a model's weights, and the low-precision copies that compute.

The optimizer sees masters only. A parameter that is fp32 already is its own master.
"""

from collections.abc import Sequence

import torch
from torch import nn


class Masters:
    """What the optimizer updates, in parameter order. Make it while the weights are fp32."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.tensors = [parameter.detach() for parameter in parameters]
        self.copies: list[torch.Tensor] = []
        self._sources: list[torch.Tensor] = []

    def cast(
        self, parameters: Sequence[nn.Parameter], lowered: Sequence[bool], dtype: torch.dtype
    ) -> None:
        """Let the chosen parameters compute in this type from now on; masters keep fp32."""
        if dtype is torch.float32:
            return
        for parameter, low, master in zip(parameters, lowered, self.tensors, strict=True):
            if low:
                parameter.data = master.to(dtype)  # strides are kept
                self.copies.append(parameter.data)
                self._sources.append(master)

    def publish(self) -> None:
        """Round the masters into the copies that compute."""
        if self.copies:
            torch._foreach_copy_(self.copies, self._sources)
