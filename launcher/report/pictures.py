"""The report's charts: which ones there are, and what each is drawn from."""

import json
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from launcher import runset
from launcher.answer import Answer
from launcher.core.units import moment
from launcher.report import charts
from launcher.report.charts import Lane, Series
from launcher.runset import Run, RunSet

MAX_POINTS = 240  # of one line; a page of fifteen runs stays small
MAX_TELEMETRY = 200_000  # samples of one run


def draw(answer: Answer, facts: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return SVG by benchmark and name; a chart without data is not there. "" holds the score's."""
    drawn = {
        benchmark.value: _of_set(runs, told)
        for (benchmark, runs), told in zip(answer.sets.items(), facts["benchmarks"], strict=True)
    }
    return drawn | {"": _yardstick(facts)}


def _yardstick(facts: Mapping[str, Any]) -> dict[str, str]:
    score = facts["score"]
    if score is None or facts["watermark"]:
        return {}
    shown = (score["normalised"] or score["raw"])["value"]
    rows = [(each["name"], each["score"]) for each in facts["yardstick"]]
    rows.append(("this answer", shown))
    rows.sort(key=lambda row: -row[1])
    own = [name for name, _ in rows].index("this answer")
    labels, values = zip(*rows, strict=True)
    return {"yardstick": charts.bars(labels, values, own=own, x="score, higher is better")}


def _of_set(runs: RunSet, told: Mapping[str, Any]) -> dict[str, str]:
    kinds = {row["run"]: _kind(row["kind"]) for row in told["runs"]}
    end = [(run, kinds[run.number]) for run in runs.runs]
    found = told["convergence"]
    drawn = {
        "times": charts.times(
            [_dot(run, row, run.result.elapsed, kind) for row, (run, kind) in enumerate(end)],
            told["minutes"],
        ),
        "accuracy": charts.accuracy(
            [_curve(run, kind) for run, kind in end], told["target"], told["quality_name"]
        ),
        "convergence": charts.convergence(
            [_dot(run, row, run.result.progress, kind) for row, (run, kind) in enumerate(end)],
            reference=found["reference_mean"],
            own=found["own_mean"],
            unit=told["unit"],
        ),
    }
    rates = [row["samples_per_s"] or 0.0 for row in told["runs"]]
    labels = [f"run {row['run']}" for row in told["runs"]]
    drawn["throughput"] = charts.bars(
        labels, rates, own=-1, x="samples a second, evaluation included"
    )
    if lanes := list(_lanes(runs, kinds)):
        drawn["timeline"] = charts.timeline(lanes)
    if power := [series for run, kind in end if (series := _power(run, kind)).x]:
        drawn["power"] = charts.lines(power, x="minutes since run_start", y="accelerators, kW")
    return drawn


def _kind(kind: str) -> str:
    return "dropped" if kind == "outside" else kind


def _dot(run: Run, row: int, value: float | None, kind: str) -> Series:
    """Place one run's value on its row."""
    x, y = ((value,), (float(row),)) if value is not None else ((), ())
    return Series(label=f"run {run.number}", kind=kind, x=x, y=y)


def _curve(run: Run, kind: str) -> Series:
    start = run.result.start_ms or 0.0
    points = run.result.curve[:: len(run.result.curve) // MAX_POINTS + 1]
    return Series(
        label=f"run {run.number}",
        kind=kind,
        x=tuple((point.time_ms - start) / 60_000 for point in points),
        y=tuple(point.accuracy for point in points),
    )


def _lanes(runs: RunSet, kinds: Mapping[int, str]) -> Iterator[Lane]:
    """Put all runs of a set on one clock, where their containers' lives are known."""
    lives = {run.number: _life(run) for run in runs.runs}
    begun = [life[0] for life in lives.values() if life]
    for run in runs.runs:
        life = lives[run.number]
        if life is None:
            continue
        zero, found = min(begun), run.result
        timed = None
        if found.start_ms is not None and found.stop_ms is not None:
            timed = ((found.start_ms - zero) / 60_000, (found.stop_ms - zero) / 60_000)
        yield Lane(
            label=f"run {run.number}",
            container=((life[0] - zero) / 60_000, (life[1] - zero) / 60_000),
            timed=timed,
            cleared=tuple((at - zero) / 60_000 for at in found.cache_clear_ms),
            kind=kinds[run.number],
        )


def _life(run: Run) -> tuple[float, float] | None:
    """Return when a container started and ended, in milliseconds."""
    start, end = (moment((run.exit or {}).get(key)) for key in ("started_at", "finished_at"))
    return None if start is None or end is None else (start * 1000, end * 1000)


def _power(run: Run, kind: str) -> Series:
    """Read a run's telemetry: all accelerators' power within the timed span, in kW."""
    start, stop = run.result.start_ms, run.result.stop_ms
    path = run.folder / runset.TELEMETRY
    if start is None or stop is None or not path.is_file():
        return Series(label="", kind=kind, x=(), y=())
    samples = [(at, watts) for at, watts in _samples(path) if start <= at <= stop]
    size = len(samples) // MAX_POINTS + 1
    groups = [samples[at : at + size] for at in range(0, len(samples), size)]
    return Series(
        label=f"run {run.number}",
        kind=kind,
        x=tuple((group[0][0] - start) / 60_000 for group in groups),
        y=tuple(statistics.fmean(watts for _, watts in group) / 1000 for group in groups),
    )


def _samples(path: Path) -> Iterator[tuple[float, float]]:
    """Yield time and summed power of every sample that states both."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for _, line in zip(range(MAX_TELEMETRY), lines, strict=False):
            try:
                sample = json.loads(line)
                watts = [float(gpu["power_w"]) for gpu in sample["gpus"]]
                time_ms = float(sample["time_ms"])
            except (ValueError, TypeError, KeyError, RecursionError):
                continue
            if watts:
                yield time_ms, sum(watts)
