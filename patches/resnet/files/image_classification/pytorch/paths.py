"""The ways to compute a step on this machine to the one that a run uses.

Each way is checked against the plain one on synthetic data, captured in a CUDA graph, timed; the
fastest that agrees is taken, the same on all ranks. It leaves weights and statistics untouched.

What may fail is tried without meeting other ranks, and all vote before they meet again: a rank on
which a way fails would leave the others waiting in a collective.
"""

import gc
from collections.abc import Callable

import torch
from torch import Tensor, nn

from image_classification.pytorch import proof
from image_classification.pytorch.model import ResNet
from image_classification.pytorch.proof import Part, Way
from image_classification.pytorch.step import Learner, Step
from pytorch_common import distributed, fastpath, graphs
from pytorch_common.failure import RunError
from pytorch_common.fastpath import Verdict
from pytorch_common.mlperf import RunLog

# A graph repeats the kernels that ran: it is right up to the order of atomic sums, which a deep
# network in 16 bits amplifies, or it reads a wrong place and is wrong altogether.
GRAPH_ERROR = 0.5
_RATE = 10.0  # of the steps taken here, all put back: large enough to show in 16 bits

Forward = Callable[[Tensor], Tensor]
Build = Callable[[Forward], Step]


def compiled(part: nn.Module) -> Part:
    """Return a part compiled by itself, for the shapes it sees.

    Stages share their code: left to itself, torch takes the sizes of the third for a change of the
    second's and compiles it for any size.
    """
    return torch.compile(part, dynamic=False)


WAYS: dict[str, Way] = {"eager": lambda part: part, "compile": compiled}


def forward(model: ResNet, way: str) -> Forward:
    """Return the network's forward pass with its parts computed in this way."""
    computed = [WAYS[way](part) for part in proof.parts(model)]

    def run(x: Tensor) -> Tensor:  # (N, 3, S, S) -> (N, classes), fp32
        for part in computed:
            x = part(x)
        return x

    return run


class Chooser:
    """Tries ways on one learner."""

    def __init__(
        self, learner: Learner, build: Build, exact: Callable[[], ResNet], log: RunLog
    ) -> None:
        self._learner, self._build, self._exact, self._log = learner, build, exact, log
        self._before = [tensor.clone() for tensor in learner.state]
        self._device = learner.model.stem.conv.weight.device
        self._refused: list[Verdict] = []

    @property
    def refused(self) -> str:
        """What was refused until now, and why."""
        return "; ".join(f"{verdict.name} {verdict.note}" for verdict in self._refused)

    def attempt(self, way: str) -> float | None:
        """Return the milliseconds of a step on the slowest rank; None where any refuses the way."""
        judged_well = way == "eager" or self._agreed(self._judged(way))
        if not (judged_well and self._runs(way)):
            return None
        step = self.ready(way)
        own = fastpath.milliseconds(lambda: step(_keep, _RATE), device=self._device)
        self._restore()
        slowest = float(distributed.max_(torch.tensor(own, device=self._device)).item())
        self._log.event("step_path_time", {"path": way, "step_ms": slowest})
        return slowest

    def ready(self, way: str) -> Step:
        """Return the step of a way, warm and captured where that can be, as if it had never run."""
        step = self._step(way)
        if graphs.available(self._device) and not self._captured(way, step):
            step = self._step(way)
        step(_keep, _RATE)
        self._restore()
        return step

    def _step(self, way: str) -> Step:
        step = self._build(forward(self._learner.model, way))
        synthetic(step, seed=distributed.rank())
        return step

    def _runs(self, way: str) -> bool:
        """Say whether every rank can compute gradients this way: whether they fit, above all."""
        try:
            fastpath.on_all_ranks(lambda: self._step(way).accumulate(), device=self._device)
        except fastpath.REFUSALS as refusal:
            return self._agreed(fastpath.refused(way, refusal))
        finally:
            self._restore()
        return True

    def _judged(self, way: str) -> Verdict:
        images = self._step("eager").inputs()
        verdict = proof.judge(way, WAYS[way], self._learner.model, self._exact(), images)
        self._restore()
        return verdict

    def _captured(self, way: str, step: Step) -> bool:
        """Capture a step; say whether the graph updates as the step did, on every rank."""
        direct = self._change(step)

        def replayed() -> list[Tensor]:
            fastpath.on_all_ranks(step.capture, device=self._device)
            return proof.alike(self._change(step), direct)

        return self._agreed(
            fastpath.prove(
                f"{way} as CUDA graph",
                replayed,
                plain=proof.alike(direct, direct),
                truth=None,
                without_truth=GRAPH_ERROR,
            )
        )

    def _change(self, step: Step) -> list[Tensor]:
        """Return by how much one step changes every tensor of the learner's state."""
        self._restore()
        step(_keep, _RATE)
        pairs = zip(self._learner.state, self._before, strict=True)
        return [after.float() - before.float() for after, before in pairs]

    def _agreed(self, verdict: Verdict) -> bool:
        """Log a verdict; say whether every rank came to a good one."""
        verdict = fastpath.agreed(verdict, device=self._device)
        self._log.event("step_path_check", verdict.record)
        if not verdict.passed:
            self._refused.append(verdict)
        return verdict.passed

    @torch.no_grad()
    def _restore(self) -> None:
        for tensor, old in zip(self._learner.state, self._before, strict=True):
            tensor.copy_(old)


def choose(
    wanted: str, learner: Learner, build: Build, exact: Callable[[], ResNet], log: RunLog
) -> Step:
    """Return the step that this run will use: the named way, or the fastest that proves itself.

    `exact` returns the network as it is drawn, in fp32.
    """
    if not graphs.available(learner.model.stem.conv.weight.device) and wanted != "compile":
        log.event("step_path", {"path": "eager", "note": "the plain path"})
        return build(forward(learner.model, "eager"))
    chooser = Chooser(learner, build, exact, log)
    times: dict[str, float] = {}
    for way in WAYS if wanted == "auto" else [wanted]:
        elapsed = chooser.attempt(way)
        if elapsed is not None:
            times[way] = elapsed
        _free_memory()
    if not times:
        raise RunError(
            f"hyperparameters.yaml: training.step is {wanted}, but {chooser.refused}; write eager,"
            " or raise gradient_accumulation_steps where memory is short."
        )
    fastest = min(times, key=lambda way: times[way])
    log.event("step_path", {"path": fastest, "step_ms": times[fastest]})
    return chooser.ready(fastest)


def synthetic(step: Step, *, seed: int = 0) -> None:
    """Fill the inputs with noise in the range of real images, and with labels."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(step.images.shape, generator=generator) * 255 - 117
    step.images.copy_(noise)
    classes = step.learner.model.head.dense.out_features
    step.labels.copy_(torch.arange(len(step.labels)) % classes)


def _keep(images: Tensor, labels: Tensor) -> None:
    """Load nothing: the inputs stay as they are."""


def _free_memory() -> None:
    """Give back what the last way held: its graphs' memory is its own."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
