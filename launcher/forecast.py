"""A run set at work to what it may come to and when: logs, ends and plan to a Forecast and an ETA.

It reads what lies on disk, also while a launcher writes there, and changes nothing.
"""

import itertools
import statistics
import time
from dataclasses import dataclass
from typing import Any

from launcher.core import forecast, presets
from launcher.core.forecast import Forecast
from launcher.core.units import moment
from launcher.errors import LogError
from launcher.runset import Run, RunSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a set may come to, and how long that takes."""

    runs: RunSet
    forecast: Forecast
    running: int | None  # number of the run that is at work
    run_s: float | None  # median seconds of one run with everything around it
    left_s: float | None  # seconds until the last run ends; None before the first has


def look(runs: RunSet, *, now: float | None = None) -> Outlook:
    """Forecast one run set of the launcher's. Raises LogError for a stranger's."""
    if runs.plan is None:
        raise LogError(f"{runs.folder}: has no plan.json; name a run set of this launcher.")
    done = [run for run in runs.runs if run.exit is not None]
    begun = [run for run in runs.runs if run.exit is None and run.result.start_ms is not None]
    planned = len(runs.plan.seeds)
    typical = _typical_s(done)
    spent = max(0.0, (time.time() if now is None else now) - _begin_s(begun[0])) if begun else 0.0
    left = None
    if typical is not None:
        left = max(0.0, (planned - len(done)) * typical - min(spent, typical))
    return Outlook(
        runs=runs,
        forecast=forecast.forecast(
            runs.benchmark, [run.result for run in done], planned, _odds(runs)
        ),
        running=begun[0].number if begun else None,
        run_s=typical,
        left_s=left,
    )


def _odds(runs: RunSet) -> float:
    """Return the published odds of the preset; the usual ones where it has none."""
    name = runs.plan.preset if runs.plan else ""
    for row in presets.TABLE:
        odds = row.failure_odds
        if row.benchmark is runs.benchmark and row.name == name and odds is not None:
            return odds
    return forecast.USUAL_ODDS


def _typical_s(done: list[Run]) -> float | None:
    """Return the median time from one end to the next; the containers' own where there is one."""
    ends = _moments(done, "finished_at")
    if len(ends) > 1:
        return statistics.median(later - earlier for earlier, later in itertools.pairwise(ends))
    starts = _moments(done, "started_at")
    return ends[0] - starts[0] if ends and starts else None


def _moments(runs: list[Run], key: str) -> list[float]:
    found = (moment((run.exit or {}).get(key)) for run in runs)
    return sorted(each for each in found if each is not None)


def _begin_s(run: Run) -> float:
    """Return when a run at work began, seconds since 1970."""
    marks = (run.result.init_start_ms, run.result.start_ms)
    return min(mark for mark in marks if mark is not None) / 1000


def told(outlook: Outlook) -> list[str]:
    """Return the forecast as lines for a reader."""
    found = outlook.forecast
    unit = outlook.runs.benchmark.facts.convergence_unit
    lines = [
        f"{found.done} of {found.planned} runs are done, {found.failed} did not converge"
        + (f"; run {outlook.running} is at work" if outlook.running is not None else ""),
    ]
    if found.done >= found.planned:
        return [*lines, f"nothing is left to forecast: launcher score {outlook.runs.folder}"]
    lines.append(
        f"chance of no valid result: {found.void:.1%}; of one more failed run: {found.odds:.1%}"
    )
    if outlook.left_s is not None and outlook.run_s is not None:
        lines.append(f"about {_span(outlook.left_s)} left, {_span(outlook.run_s)} a run")
    if found.minutes is not None:
        low, middle, high = found.minutes
        lines.append(f"olympic mean: {middle:.3f} min (8 of 10 times from {low:.3f} to {high:.3f})")
    if found.factor is not None and not outlook.runs.rehearsal:
        lines.append(
            f"converges at {found.progress:,.10g} {unit} on average; the reference at"
            f" {found.reference:,.10g}: factor {found.factor:.4f} so far"
        )
    return lines


def as_json(outlook: Outlook) -> dict[str, Any]:
    """Return the forecast as JSON would hold it; times in the unit of the key."""
    found = outlook.forecast
    return {
        "folder": str(outlook.runs.folder),
        "benchmark": outlook.runs.benchmark.value,
        "rehearsal": outlook.runs.rehearsal,
        "planned": found.planned,
        "done": found.done,
        "failed": found.failed,
        "running": outlook.running,
        "seconds_a_run": outlook.run_s,
        "seconds_left": outlook.left_s,
        "chance_of_failure": found.odds,
        "chance_of_void_set": found.void,
        "minutes_10_50_90": found.minutes,
        "converges_at": found.progress,
        "reference": found.reference,
        "rcp_factor_so_far": found.factor,
    }


def _span(seconds: float) -> str:
    """Return a duration as a person says it."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s"
