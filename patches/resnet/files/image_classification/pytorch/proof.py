"""A way to compute the network's parts to a verdict: is it as good as the plain way here.

Part by part, each with its own input and with noise for a gradient. Errors of 16 bits that pass
through all of an untrained network grow to the size of its gradients (docs/resnet.md) and would
excuse any other. Nothing here meets other ranks, so a rank may fail alone.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from image_classification.pytorch.model import ResNet
from pytorch_common import fastpath
from pytorch_common.fastpath import Verdict

_COMPARED = 32  # images whose activations are compared

Part = Callable[[Tensor], Tensor]
Way = Callable[[nn.Module], Part]


def parts(model: ResNet) -> list[nn.Module]:
    """Cut a network where gradients of its end can be reduced while its beginning is computed."""
    return [model.stem, *model.stages, model.head]


def judge(name: str, way: Way, model: ResNet, exact: ResNet, images: Tensor) -> Verdict:
    """Compare a way with the plain one; return the verdict on the part that does worst.

    `exact` is the same network in fp32, `images` (N, 3, S, S) in the precision of `model`.
    """
    pairs = zip(parts(model.train()), parts(exact.train()), probes(model, images), strict=True)
    verdicts = [_judge_part(name, way, part, full, probe) for part, full, probe in pairs]
    return max(verdicts, key=lambda found: (not found.passed, (found.error or 0.0) / found.allowed))


@dataclass(frozen=True, slots=True)
class Probe:
    """What reaches a part: an input, and the gradient of its output."""

    x: Tensor
    gradient: Tensor

    def response(self, part: Part, module: nn.Module) -> list[Tensor]:
        """Return what `part`, some way to compute `module`, makes of it.

        Its output and the gradient of its input, if wanted, of some images; the gradients of its
        parameters, and the changes of its batch statistics, which are sums over all.
        """
        x = self.x.detach().requires_grad_(self.x.requires_grad)
        images = [x] if x.requires_grad else []
        with _statistics(module) as before:
            y = part(x)
            wanted = [*images, *module.parameters()]
            gradients = torch.autograd.grad(y, wanted, self.gradient.to(y.dtype))
            changes = [after - old for after, old in before]
        of_images = [_some(tensor) for tensor in (y.detach(), *gradients[: len(images)])]
        return [*of_images, *gradients[len(images) :], *changes]

    def in_full(self) -> "Probe":
        """Return the same in fp32."""
        return Probe(self.x.detach().float().requires_grad_(self.x.requires_grad), self.gradient)


def probes(model: ResNet, images: Tensor) -> Iterator[Probe]:
    """Yield what reaches each part in turn, computed in the plain way."""
    generator = torch.Generator(images.device).manual_seed(0)
    x = images
    for part in parts(model):
        with torch.no_grad(), _statistics(part):
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


def _some(tensor: Tensor) -> Tensor:
    """Return some of (N, ...), evenly spread: all in fp32 would take more memory than a step."""
    return tensor[:: -(-len(tensor) // _COMPARED)].clone()


@contextlib.contextmanager
def _statistics(module: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Give the batch statistics and what they were, to which they return in the end."""
    pairs = [(tensor, tensor.clone()) for tensor in module.buffers()]
    try:
        yield pairs
    finally:
        for tensor, before in pairs:
            tensor.copy_(before)


def _judge_part(name: str, way: Way, part: nn.Module, exact: nn.Module, probe: Probe) -> Verdict:
    plain = probe.response(part, part)
    truth = _or_none(lambda: probe.in_full().response(exact, exact))
    return fastpath.prove(
        name,
        lambda: alike(probe.response(way(part), part), plain),
        plain=alike(plain, plain),
        truth=None if truth is None else alike(truth, plain),
    )


def _or_none(truth: Callable[[], list[Tensor]]) -> list[Tensor] | None:
    """Return the truth, or None where fp32 does not fit into the device's memory."""
    try:
        return truth()
    except torch.OutOfMemoryError:
        return None
