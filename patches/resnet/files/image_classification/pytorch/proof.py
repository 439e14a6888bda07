"""A way to compute the network's parts to a verdict: is it as good as the plain way here.

Part by part, each with its own input and with noise for a gradient. Errors of 16 bits that pass
through all of an untrained network grow to the size of its gradients (docs/resnet.md) and would
excuse any other. Nothing here meets other ranks, so a rank may fail alone.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from image_classification.pytorch.model import ResNet
from pytorch_common import fastpath
from pytorch_common.fastpath import Verdict

Part = Callable[[Tensor], Tensor]
Way = Callable[[nn.Module], Part]


def parts(model: ResNet) -> list[nn.Module]:
    """Cut a network where gradients of its end can be reduced while its beginning is computed."""
    return [model.stem, *model.stages, model.head]


def judge(name: str, way: Way, model: ResNet, exact: ResNet, images: Tensor) -> Verdict:
    """Compare a way with the plain one; return the verdict on the part that does worst.

    `exact` is the same network in fp32, `images` (N, 3, S, S) in the precision of `model`. Batch
    statistics of both networks change.
    """
    pairs = zip(parts(model.train()), parts(exact.train()), probes(model, images), strict=True)
    verdicts = [_judge_part(name, way, part, full, probe) for part, full, probe in pairs]
    return max(verdicts, key=lambda verdict: (not verdict.passed, verdict.error or 0.0))


@dataclass(frozen=True, slots=True)
class Probe:
    """What reaches a part: an input, and the gradient of its output."""

    x: Tensor
    gradient: Tensor

    def response(self, part: Part, parameters: Sequence[Tensor]) -> list[Tensor]:
        """Return the part's output and the gradients of its input, if wanted, and parameters."""
        x = self.x.detach().requires_grad_(self.x.requires_grad)
        y = part(x)
        wanted = [x, *parameters] if x.requires_grad else parameters
        return [y.detach(), *torch.autograd.grad(y, wanted, self.gradient.to(y.dtype))]

    def in_full(self) -> "Probe":
        """Return the same in fp32."""
        return Probe(self.x.detach().float().requires_grad_(self.x.requires_grad), self.gradient)


def probes(model: ResNet, images: Tensor) -> Iterator[Probe]:
    """Yield what reaches each part in turn, computed in the plain way."""
    generator = torch.Generator(images.device).manual_seed(0)
    x = images
    for part in parts(model):
        with torch.no_grad():
            y = part(x)
        gradient = torch.empty_like(y, dtype=torch.float32).normal_(generator=generator)
        yield Probe(x, gradient)
        x = y.requires_grad_()


def alike(tensors: Sequence[Tensor], units: Sequence[Tensor]) -> list[Tensor]:
    """Measure each tensor by the norm of its unit, so that none outweighs the others."""
    return [
        tensor.float() / unit.float().norm().clamp(min=1e-30)
        for tensor, unit in zip(tensors, units, strict=True)
    ]


def _judge_part(name: str, way: Way, part: nn.Module, exact: nn.Module, probe: Probe) -> Verdict:
    parameters = list(part.parameters())
    plain = probe.response(part, parameters)
    truth = _or_none(lambda: probe.in_full().response(exact, list(exact.parameters())))
    return fastpath.prove(
        name,
        lambda: alike(probe.response(way(part), parameters), plain),
        plain=alike(plain, plain),
        truth=None if truth is None else alike(truth, plain),
    )


def _or_none(truth: Callable[[], list[Tensor]]) -> list[Tensor] | None:
    """Return the truth, or None where fp32 does not fit into the device's memory."""
    try:
        return truth()
    except torch.OutOfMemoryError:
        return None
