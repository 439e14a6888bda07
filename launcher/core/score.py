"""Results of run sets to olympic means and the RFP's score, with every step kept.

It never reads logs and never decides what a run's time is (core/result does). The rules: MLPerf
training_rules at 6e668456, "Benchmark Results"; the formula: the RFP, score = 7.19/R + 9.05/B.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from launcher.core.benchmark import Benchmark
from launcher.core.result import Result, ResultSet
from launcher.core.units import Minutes

NEVER = Minutes(math.inf)  # the time of a run that did not converge


@dataclass(frozen=True, slots=True, kw_only=True)
class OlympicMean:
    """The mean of some runs without the fastest and the slowest."""

    minutes: Minutes  # NEVER where two or more did not converge, or fewer than three ran
    fastest: int  # index of the dropped run in what was given; -1 where there was none
    slowest: int

    @property
    def valid(self) -> bool:
        """Say whether there is a mean at all."""
        return math.isfinite(self.minutes)


def olympic_mean(minutes: Sequence[Minutes]) -> OlympicMean:
    """Drop the fastest and the slowest and average the rest.

    A run that did not converge is NEVER: one such run is the slowest; two leave no mean.
    """
    if not minutes:
        return OlympicMean(minutes=NEVER, fastest=-1, slowest=-1)
    order = sorted(range(len(minutes)), key=lambda index: (minutes[index], index))
    kept = [minutes[index] for index in order[1:-1]]
    mean = Minutes(math.fsum(kept) / len(kept)) if kept else NEVER
    return OlympicMean(minutes=mean, fastest=order[0], slowest=order[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """N consecutive runs by start time, and their olympic mean."""

    first: int  # index of its first run in SetScore.runs
    size: int
    mean: OlympicMean

    @property
    def fastest(self) -> int:
        """Index of the dropped fastest run in SetScore.runs."""
        return self.first + self.mean.fastest

    @property
    def slowest(self) -> int:
        """Index of the dropped slowest run in SetScore.runs."""
        return self.first + self.mean.slowest


@dataclass(frozen=True, slots=True, kw_only=True)
class SetScore:
    """What one run set comes to. `minutes` is raw; see `normalised`."""

    benchmark: Benchmark
    runs: tuple[Result, ...]  # in the order of their start
    required: int  # N
    windows: tuple[Window, ...]  # one where M = N; none where M < N
    chosen: int  # index of the scored window; -1 where there is none
    reason: str  # why there is no valid result; empty if there is one

    @property
    def window(self) -> Window | None:
        """The window that is scored."""
        return self.windows[self.chosen] if self.windows else None

    @property
    def minutes(self) -> Minutes:
        """Olympic mean of the scored window, not normalised; NEVER where it is not valid."""
        return self.window.mean.minutes if self.window else NEVER

    @property
    def valid(self) -> bool:
        """Say whether the rules accept the time (they ask for more: see launcher.check)."""
        return not self.reason

    @property
    def scored(self) -> tuple[Result, ...]:
        """The runs of the scored window, the dropped ones included."""
        if self.window is None:
            return ()
        return self.runs[self.window.first : self.window.first + self.window.size]

    def normalised(self, rcp_factor: float) -> Minutes:
        """Minutes x RCP factor (max(1, RCP mean / own mean), from mlperf-logging)."""
        return Minutes(self.minutes * rcp_factor)


def score_set(results: ResultSet) -> SetScore:
    """Score a run set by the rules.

    With M > N runs, every N consecutive runs by start time are a window; the window whose olympic
    mean is the median is scored, the slower of the two middle ones where their number is even.
    """
    required = results.benchmark.facts.required_runs
    runs = _by_start(results.results)
    windows = _windows([_time(run) for run in runs], required)
    chosen = _median(windows)
    return SetScore(
        benchmark=results.benchmark,
        runs=runs,
        required=required,
        windows=windows,
        chosen=chosen,
        reason=_reason(runs, required, windows[chosen] if windows else None),
    )


def window_minutes(minutes: Sequence[Minutes], required: int) -> Minutes:
    """Return the olympic mean that scores these times, in the order of their start."""
    windows = _windows(minutes, required)
    return windows[_median(windows)].mean.minutes if windows else NEVER


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The RFP's score: 7.19/R + 9.05/B, R and B in minutes. Higher is better."""

    resnet: Minutes
    bert: Minutes

    @property
    def resnet_part(self) -> float:
        """7.19/R; 0 where R is NEVER."""
        return Benchmark.RESNET.facts.score_weight / self.resnet

    @property
    def bert_part(self) -> float:
        """9.05/B; 0 where B is NEVER."""
        return Benchmark.BERT.facts.score_weight / self.bert

    @property
    def value(self) -> float:
        """The score."""
        return self.resnet_part + self.bert_part

    @property
    def arithmetic(self) -> str:
        """The whole sum on one line."""
        weights = Benchmark.RESNET.facts.score_weight, Benchmark.BERT.facts.score_weight
        return (
            f"{weights[0]}/{self.resnet:.6f} + {weights[1]}/{self.bert:.6f}"
            f" = {self.resnet_part:.6f} + {self.bert_part:.6f} = {self.value:.6f}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The score both ways. Neither may be shown without the other."""

    raw: Score
    normalised: Score | None  # None where no RCP factor could be found


def scores(
    resnet: SetScore, bert: SetScore, *, resnet_factor: float | None, bert_factor: float | None
) -> Scores:
    """Combine two run sets of one system."""
    raw = Score(resnet=resnet.minutes, bert=bert.minutes)
    if resnet_factor is None or bert_factor is None:
        return Scores(raw=raw, normalised=None)
    normalised = Score(resnet=resnet.normalised(resnet_factor), bert=bert.normalised(bert_factor))
    return Scores(raw=raw, normalised=normalised)


def _time(run: Result) -> Minutes:
    return NEVER if run.minutes is None else run.minutes


def _by_start(runs: tuple[Result, ...]) -> tuple[Result, ...]:
    """Sort by run_start; a run without one stays behind the run it followed."""
    last = -math.inf
    keys: list[tuple[float, int]] = []
    for index, run in enumerate(runs):
        last = last if run.start_ms is None else run.start_ms
        keys.append((last, index))
    return tuple(runs[index] for _, index in sorted(keys))


def _windows(minutes: Sequence[Minutes], size: int) -> tuple[Window, ...]:
    starts = range(len(minutes) - size + 1)
    return tuple(
        Window(first=first, size=size, mean=olympic_mean(minutes[first : first + size]))
        for first in starts
    )


def _median(windows: Sequence[Window]) -> int:
    """Return the index of the median window, the slower of two; -1 where there is none."""
    order = sorted(range(len(windows)), key=lambda index: (windows[index].mean.minutes, index))
    return order[len(order) // 2] if order else -1


def _reason(runs: Sequence[Result], required: int, window: Window | None) -> str:
    if window is None:
        return f"{required} runs are required and {len(runs)} were made"
    if not window.mean.valid:
        inside = runs[window.first : window.first + window.size]
        failed = ", ".join(run.name for run in inside if not run.converged)
        return f"more than one run did not converge: {failed}"
    return ""
