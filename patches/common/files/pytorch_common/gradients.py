"""Gradients of any precision to fp32 sums over micro-batches and ranks, while backward still runs.

Parameters are grouped in the reverse of their order, which is about the order of backward. When a
group's gradients are there they are added to one flat fp32 buffer, and in an update's last
micro-batch the buffer is reduced over all ranks at once, beside the rest of backward. Sums, not
means: whoever makes the loss divides by the global batch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, distributed, nn

BUCKET_ELEMENTS = 8 * 2**20  # 32 MiB of fp32: few enough calls, early enough to overlap


class Gradients:
    """fp32 gradient buffers of a model, filled by hooks during backward."""

    def __init__(
        self, parameters: Sequence[nn.Parameter], *, bucket_elements: int = BUCKET_ELEMENTS
    ) -> None:
        self._buckets: list[_Bucket] = []
        views: dict[int, Tensor] = {}
        for group in _groups(list(parameters)[::-1], bucket_elements):
            bucket = _Bucket(group)
            self._buckets.append(bucket)
            views |= zip(map(id, group), bucket.views, strict=True)
        self.tensors = [views[id(parameter)] for parameter in parameters]  # fp32, summed
        self.loss = self._buckets[0].loss  # (1,): reduced along with the first gradients

    def begin(self, *, first: bool, last: bool) -> None:
        """Say which micro-batch of the update comes: the first overwrites, the last reduces."""
        for bucket in self._buckets:
            bucket.begin(first=first, last=last)

    def add_loss(self, loss: Tensor, *, first: bool) -> None:
        """Add this rank's share of the loss; call it before backward."""
        if first:
            self.loss.copy_(loss.detach())
        else:
            self.loss.add_(loss.detach())

    def finish(self) -> None:
        """Wait until every reduction is done (on a GPU: make the stream wait)."""
        for bucket in self._buckets:
            bucket.finish()


class _Bucket:
    """Some parameters and the flat fp32 buffer of their gradients."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        sizes = [parameter.numel() for parameter in parameters]
        self.flat = torch.zeros(sum(sizes) + 1, device=parameters[0].device)
        self.loss = self.flat[-1:]  # last, or no gradient would be aligned to 16 bytes
        starts = [sum(sizes[:index]) for index in range(len(sizes))]
        self.views = [
            # The parameter's own strides: channels_last weights meet channels_last gradients.
            self.flat.as_strided(parameter.shape, parameter.stride(), start)
            for parameter, start in zip(parameters, starts, strict=True)
        ]
        self._by_type = _by_type(self.views, self.parameters)
        self._first = self._last = True
        self._missing = 0
        self._work: distributed.Work | None = None
        for parameter in parameters:
            parameter.register_post_accumulate_grad_hook(self._arrived)

    def begin(self, *, first: bool, last: bool) -> None:
        self._first, self._last = first, last
        self._missing = len(self.parameters)

    def _arrived(self, _: Tensor) -> None:
        self._missing -= 1
        if self._missing == 0:
            self._collect()

    @torch.no_grad()
    def _collect(self) -> None:
        gather = torch._foreach_copy_ if self._first else torch._foreach_add_
        for views, parameters in self._by_type:
            gather(views, [parameter.grad for parameter in parameters])
        for parameter in self.parameters:
            parameter.grad = None  # backward hands over its own tensor, without adding to ours
        if self._last and distributed.is_initialized():
            self._work = distributed.all_reduce(self.flat, async_op=True)

    def finish(self) -> None:
        if self._work is not None:
            self._work.wait()
            self._work = None


def _by_type(
    views: Sequence[Tensor], parameters: Sequence[nn.Parameter]
) -> list[tuple[list[Tensor], list[nn.Parameter]]]:
    """Sort by the gradients' type: torch copies a list in one kernel only where all are of one."""
    kinds = dict.fromkeys(parameter.dtype for parameter in parameters)
    return [
        (
            [view for view, of in zip(views, parameters, strict=True) if of.dtype is kind],
            [parameter for parameter in parameters if parameter.dtype is kind],
        )
        for kind in kinds
    ]


def _groups(parameters: Sequence[nn.Parameter], elements: int) -> list[list[nn.Parameter]]:
    """Cut a list of parameters into runs of about so many elements."""
    groups: list[list[nn.Parameter]] = [[]]
    held = 0
    for parameter in parameters:
        if groups[-1] and held + parameter.numel() > elements:
            groups.append([])
            held = 0
        groups[-1].append(parameter)
        held += parameter.numel()
    return groups
