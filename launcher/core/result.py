"""Events of one log to a Result: did the run converge, how long did it take, from which seed.

It takes events as they come and keeps only what a result needs. It never judges hyperparameters
(core/rules) and never weighs runs against each other (core/score).
"""

import enum
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeGuard

from launcher.core import keys, mllog
from launcher.core.benchmark import Benchmark
from launcher.core.mllog import Event
from launcher.core.units import Minutes, minutes_between

Scalar = str | int | float | bool | None
MAX_POINTS = 10_000  # of an accuracy curve; the last one is always kept


class Status(enum.Enum):
    """How a run ended, by its log."""

    SUCCESS = "success"  # it says success and reached the target
    ABORTED = "aborted"  # it came to run_stop without converging
    INCOMPLETE = "incomplete"  # no run_start or no run_stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One evaluation."""

    progress: float  # epochs (ResNet) or samples (BERT)
    accuracy: float  # a fraction
    time_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one log says about one run."""

    name: str  # file or run it came from
    benchmark: Benchmark | None  # None where the log does not say
    status: Status
    reason: str  # why it is not a success; empty if it is
    target: float
    start_ms: float | None
    stop_ms: float | None
    cache_clear_ms: tuple[float, ...]
    init_start_ms: float | None  # the first, over all ranks
    init_stop_ms: float | None
    curve: tuple[Point, ...]
    seed: Scalar
    seeds: tuple[Scalar, ...]  # every value that was logged
    facts: Mapping[str, Scalar]  # submission_*, train_samples, eval_samples: the first value
    hyperparameters: Mapping[str, Scalar]  # keyed by MLLOG names: the first value
    contradictions: tuple[str, ...]  # keys logged with different values
    step_back_ms: float  # largest step back between one record and the next, of those read

    @property
    def converged(self) -> bool:
        """Say whether this run counts with its own time."""
        return self.status is Status.SUCCESS

    @property
    def elapsed(self) -> Minutes | None:
        """Minutes from run_start to run_stop, converged or not."""
        if self.start_ms is None or self.stop_ms is None:
            return None
        return minutes_between(self.start_ms, self.stop_ms)

    @property
    def minutes(self) -> Minutes | None:
        """Time to train; None where the run did not converge (it then counts as infinite)."""
        return self.elapsed if self.converged else None

    @property
    def progress(self) -> float | None:
        """Epochs or samples at the last evaluation: what the RCP is compared with."""
        return self.curve[-1].progress if self.curve else None

    @property
    def accuracy(self) -> float | None:
        """Accuracy at the last evaluation."""
        return self.curve[-1].accuracy if self.curve else None

    @property
    def global_batch_size(self) -> int | None:
        """Samples per optimizer step, where the log holds a usable number."""
        size = self.hyperparameters.get("global_batch_size")
        return size if isinstance(size, int) and not isinstance(size, bool) else None


class Builder:
    """Collects the events of one log; `result` may be asked at any time, also of a growing log.

    `benchmark` overrides what the log says; `target` is for rehearsals, whose target is not the
    rules'.
    """

    def __init__(
        self, name: str, *, benchmark: Benchmark | None = None, target: float | None = None
    ) -> None:
        self._name = name
        self._benchmark = benchmark
        self._target = target
        self._first: dict[str, Scalar] = {}
        self._contradictions: dict[str, None] = {}
        self._seeds: list[Scalar] = []
        self._cache_clear_ms: list[float] = []
        self._init_start_ms: float | None = None
        self._init_stop_ms: float | None = None
        self._start_ms: float | None = None
        self._stop: Event | None = None
        self._curve: list[Point] = []
        self._last_ms = -math.inf
        self._step_back_ms = 0.0

    def add(self, events: Iterable[Event]) -> None:
        """Take the next events, in the order of the log."""
        for event in events:
            self._step_back_ms = max(self._step_back_ms, self._last_ms - event.time_ms)
            self._last_ms = event.time_ms
            if event.key == keys.ACCURACY:
                self._add_point(event)
            elif event.key in keys.MARKS:
                self._add_mark(event)
            elif event.key in keys.ALL:
                self._add_fact(event.key, _bounded(event.value))

    def _add_point(self, event: Event) -> None:
        progress = event.metadata.get("epoch_num", event.metadata.get("samples_count"))
        if self._stop is not None or not finite(progress) or not finite(event.value):
            return  # after run_stop, or not an accuracy
        point = Point(progress=progress, accuracy=event.value, time_ms=event.time_ms)
        if len(self._curve) == MAX_POINTS:
            self._curve.pop()
        self._curve.append(point)

    def _add_fact(self, key: str, value: Scalar) -> None:
        if self._first.setdefault(key, value) != value:
            self._contradictions[key] = None

    def _add_mark(self, event: Event) -> None:
        match event.key:
            case "seed":
                self._seeds += [_bounded(event.value)][: MAX_POINTS - len(self._seeds)]
            case "cache_clear":
                self._cache_clear_ms += [event.time_ms][: MAX_POINTS - len(self._cache_clear_ms)]
            case "init_start":
                first = self._init_start_ms
                self._init_start_ms = event.time_ms if first is None else min(first, event.time_ms)
            case "init_stop":
                self._init_stop_ms = event.time_ms
            case "run_start" if self._stop is None:
                self._start_ms = event.time_ms
            case "run_stop" if self._stop is None:
                self._stop = event

    def result(self) -> Result:
        """Return what the events so far amount to."""
        benchmark = self._benchmark or Benchmark.named(self._first.get("submission_benchmark"))
        target = self._target
        if target is None:
            target = benchmark.facts.quality_target if benchmark else math.inf
        status, reason = self._verdict(benchmark, target)
        names = keys.HYPERPARAMETERS[benchmark] if benchmark else ()
        return Result(
            name=self._name,
            benchmark=benchmark,
            status=status,
            reason=reason,
            target=target,
            start_ms=self._start_ms,
            stop_ms=self._stop.time_ms if self._stop else None,
            cache_clear_ms=tuple(self._cache_clear_ms),
            init_start_ms=self._init_start_ms,
            init_stop_ms=self._init_stop_ms,
            curve=tuple(self._curve),
            seed=self._seeds[0] if self._seeds else None,
            seeds=tuple(self._seeds),
            facts={key: self._first[key] for key in keys.FACTS if key in self._first},
            hyperparameters={key: self._first[key] for key in names if key in self._first},
            contradictions=tuple(self._contradictions),
            step_back_ms=self._step_back_ms,
        )

    def _verdict(self, benchmark: Benchmark | None, target: float) -> tuple[Status, str]:
        """Say how the run ended: only a run that says success and reached the target is one."""
        if self._start_ms is None:
            return Status.INCOMPLETE, "there is no run_start"
        if self._stop is None:
            return Status.INCOMPLETE, "there is no run_stop"
        reason = self._failure(self._stop, benchmark, target)
        return (Status.ABORTED if reason else Status.SUCCESS), reason

    def _failure(self, stop: Event, benchmark: Benchmark | None, target: float) -> str:
        """Say why a run that came to run_stop is not a success; empty if it is."""
        if benchmark is None and self._target is None:
            said = self._first.get("submission_benchmark")
            return f"submission_benchmark is {said!r}, not resnet or bert"
        if (said := stop.metadata.get("status")) != "success":
            return f"run_stop says {_bounded(said)!r}"
        if self._start_ms is None or stop.time_ms <= self._start_ms:
            return "run_stop is not after run_start"
        best = max((point.accuracy for point in self._curve if point.accuracy < 1), default=None)
        if best is None:
            return "run_stop says success, but no accuracy below 1 was logged"
        if best < target:
            return f"run_stop says success, but {best:.5f} is below {target:g}"
        return ""


def read(
    name: str,
    pieces: Iterable[bytes],
    *,
    benchmark: Benchmark | None = None,
    target: float | None = None,
) -> tuple[Result, mllog.Log]:
    """Read a whole log, given in pieces; the Log returned holds the oddities and no events."""
    builder = Builder(name, benchmark=benchmark, target=target)
    reader = mllog.Reader(keys.ALL)
    for piece in pieces:
        builder.add(reader.feed(piece))
    builder.add(reader.close())
    return builder.result(), reader.log()


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultSet:
    """The results of one run set, by run number."""

    benchmark: Benchmark
    results: tuple[Result, ...]


def _bounded(value: object) -> Scalar:
    """Return a logged value as it is, if JSON, UTF-8 and arithmetic can hold it; else its text."""
    if isinstance(value, str):
        return value[: mllog.EXCERPT].encode(errors="backslashreplace").decode()
    if value is None or isinstance(value, bool) or _holdable(value):
        return value
    return (
        str(value)[: mllog.EXCERPT]
        if isinstance(value, int | float)
        else f"<{type(value).__name__}>"
    )


def _holdable(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and abs(value) < 1e30  # noqa: PLR2004 - not NaN


def finite(value: object) -> TypeGuard[int | float]:
    """Say whether a logged value is a number that can be compared."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= 1e15  # noqa: PLR2004 - false for NaN, infinities and absurd integers
