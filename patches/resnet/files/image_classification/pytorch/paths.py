"""The ways to compute a step on this machine to the one that a run uses.

Each way is checked against the plain one on synthetic data, captured in a CUDA graph, timed; the
fastest that agrees is taken, the same on all ranks. It leaves weights and statistics untouched.
"""

import gc
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from image_classification.pytorch.model import ResNet
from image_classification.pytorch.step import Learner, Step
from pytorch_common import distributed, fastpath
from pytorch_common.failure import RunError
from pytorch_common.mlperf import RunLog

WARM_STEPS = 3  # before a capture: lazy initialisation, cuDNN's search, communicators
_RATE = 0.0  # of warm-up steps; what they change is put back all the same

Forward = Callable[[Tensor], Tensor]
Build = Callable[[Forward | None], Step]
Truth = Callable[[], Sequence[Tensor]]


def compiled(model: ResNet) -> Forward:
    """Return a forward whose parts are compiled one by one.

    One part a stage: gradients of the last stages are reduced while the first are computed.
    """
    parts = [torch.compile(part) for part in (model.stem, *model.stages, model.head)]

    def forward(x: Tensor) -> Tensor:  # (N, 3, S, S) -> (N, classes), fp32
        for part in parts:
            x = part(x)
        return x

    return forward


FORWARDS: dict[str, Callable[[ResNet], Forward]] = {
    "eager": lambda model: model,
    "compile": compiled,
}


class Chooser:
    """Tries ways on one learner."""

    def __init__(self, learner: Learner, build: Build, truth: Truth) -> None:
        self._learner, self._build = learner, build
        self._before = [tensor.clone() for tensor in learner.state]
        plain = build(None)
        self.device = plain.images.device
        self._plain = gradients(plain)
        self._truth = _or_none(truth)
        self._restore()

    def attempt(self, name: str) -> tuple[fastpath.Verdict, float | None]:
        """Check one way; return its time, too, if every rank found it good."""
        step = self._build(FORWARDS[name](self._learner.model))
        verdict = fastpath.prove(
            name, lambda: gradients(step), plain=self._plain, truth=self._truth
        )
        if distributed.max_(self._scalar(not verdict.passed)).item():
            elapsed = None
        else:
            _warm(step)
            own = fastpath.milliseconds(lambda: step(_keep, _RATE), device=self.device)
            elapsed = float(distributed.max_(self._scalar(own)).item())
        self._restore()
        return verdict, elapsed

    def ready(self, name: str) -> Step:
        """Return the step of a way, warm and captured, as if it had never run."""
        step = self._build(FORWARDS[name](self._learner.model))
        _warm(step)
        self._restore()
        return step

    def _scalar(self, value: float) -> Tensor:
        return torch.tensor([float(value)], device=self.device)

    @torch.no_grad()
    def _restore(self) -> None:
        for tensor, old in zip(self._learner.state, self._before, strict=True):
            tensor.copy_(old)


def choose(wanted: str, learner: Learner, build: Build, truth: Truth, log: RunLog) -> Step:
    """Return the step that this run will use: the named way, or the fastest that proves itself.

    `truth` returns the gradients of the synthetic batch in fp32 on the plain path.
    """
    if learner.model.stem.conv.weight.device.type != "cuda" and wanted != "compile":
        log.event("step_path", {"path": "eager", "note": "the plain path"})
        return build(None)
    chooser = Chooser(learner, build, truth)
    times: dict[str, float] = {}
    for name in FORWARDS if wanted == "auto" else [wanted]:
        verdict, elapsed = chooser.attempt(name)
        log.event("step_path_check", {**verdict.record, "step_ms": elapsed})
        if elapsed is not None:
            times[name] = elapsed
        _free_memory()
    if not times:
        raise RunError(
            f"hyperparameters.yaml: training.step is {wanted}, but no such path agrees with the"
            " plain one here; see step_path_check in the log, or write eager."
        )
    fastest = min(times, key=lambda name: times[name])
    log.event("step_path", {"path": fastest, "step_ms": times[fastest]})
    return chooser.ready(fastest)


def gradients(step: Step) -> list[Tensor]:
    """Return the gradients of one synthetic global batch, the same whoever computes them."""
    synthetic(step)
    return [tensor.clone() for tensor in step.accumulate()]


def synthetic(step: Step) -> None:
    """Fill the inputs with noise in the range of real images, and with labels."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(step.images.shape, generator=generator) * 255 - 117
    step.images.copy_(noise)
    classes = step.learner.model.head.dense.out_features
    step.labels.copy_(torch.arange(len(step.labels)) % classes)


def _warm(step: Step) -> None:
    """Run a few steps and, on a GPU, capture."""
    synthetic(step)
    if step.images.device.type != "cuda":
        step(_keep, _RATE)
        return
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_STEPS):
            step(_keep, _RATE)
    torch.cuda.current_stream().wait_stream(side)
    step.capture()


def _keep(images: Tensor, labels: Tensor) -> None:
    """Load nothing: the inputs stay as they are."""


def _free_memory() -> None:
    """Give back what the last way held: its graphs' memory is its own."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _or_none(truth: Truth) -> list[Tensor] | None:
    """Return the truth, or None where fp32 does not fit into the device's memory."""
    try:
        return list(truth())
    except torch.OutOfMemoryError:
        return None
