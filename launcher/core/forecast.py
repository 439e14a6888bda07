"""The runs made so far to what the whole set may come to: chance of a void set, minutes, factor.

It draws futures from the runs made and the odds that published runs had; always the same ones for
the same input. A forecast is context for the person who waits, never evidence.
"""

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from launcher.core import rcp, score
from launcher.core.benchmark import Benchmark
from launcher.core.result import Result
from launcher.core.score import NEVER
from launcher.core.units import Minutes

DRAWS = 2000
PRIOR_RUNS = 20  # how many own runs the published odds weigh as much as
LEAST_ODDS = 0.002  # that nobody's run failed yet does not make a failure impossible
# 9 of 370 runs in 52 published v4.0 sets of both benchmarks ended without converging.
USUAL_ODDS = 9 / 370


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What can be said after some runs of a set."""

    planned: int  # M
    required: int  # N
    done: int
    failed: int
    odds: float  # of one more run not to converge: published odds and own runs together
    void: float  # chance that the set ends without a valid result
    minutes: tuple[Minutes, Minutes, Minutes] | None  # 10, 50 and 90 % of the final olympic mean
    progress: float | None  # mean epochs or samples to converge so far
    reference: float | None  # what the RCP has there

    @property
    def factor(self) -> float | None:
        """The RCP factor as it stands; the referee computes the final one."""
        if self.progress is None or self.reference is None:
            return None
        return max(1.0, self.reference / self.progress)


def forecast(benchmark: Benchmark, done: Sequence[Result], planned: int, odds: float) -> Forecast:
    """Return the forecast after the runs `done`; `odds` are those of published runs to fail."""
    failed = sum(not run.converged for run in done)
    times = [run.minutes for run in done if run.minutes is not None]
    odds = min(max(odds, LEAST_ODDS), 1 - LEAST_ODDS)
    alpha = odds * PRIOR_RUNS + failed
    beta = (1 - odds) * PRIOR_RUNS + len(done) - failed
    ends = _ends(benchmark, done, planned, (alpha, beta))
    valid = sorted(minutes for minutes in ends if math.isfinite(minutes))
    progress = [run.progress for run in done if run.converged and run.progress is not None]
    batch = next((size for run in done if (size := run.global_batch_size)), None)
    return Forecast(
        planned=planned,
        required=benchmark.facts.required_runs,
        done=len(done),
        failed=failed,
        odds=alpha / (alpha + beta),
        void=1 - len(valid) / len(ends),
        minutes=_quantiles(valid) if times else None,
        progress=statistics.fmean(progress) if progress else None,
        reference=rcp.reference(benchmark, batch).mean if batch else None,
    )


def _ends(
    benchmark: Benchmark, done: Sequence[Result], planned: int, shape: tuple[float, float]
) -> list[Minutes]:
    """Draw olympic means of the finished set; NEVER where it is void."""
    chance = random.Random(planned)  # noqa: S311 - a forecast, the same every time
    known = [NEVER if run.minutes is None else run.minutes for run in done]
    times = [minutes for minutes in known if minutes is not NEVER] or [Minutes(1.0)]
    ends = []
    for _ in range(DRAWS):
        odds = chance.betavariate(*shape)
        rest = [
            NEVER if chance.random() < odds else chance.choice(times)
            for _ in range(planned - len(known))
        ]
        ends.append(score.window_minutes([*known, *rest], benchmark.facts.required_runs))
    return ends


def _quantiles(values: Sequence[Minutes]) -> tuple[Minutes, Minutes, Minutes] | None:
    if not values:
        return None
    last = len(values) - 1
    return values[round(0.1 * last)], values[round(0.5 * last)], values[round(0.9 * last)]
