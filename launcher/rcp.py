"""Runs of the patched reference -> a reference convergence point and the file that holds it.

The file keeps the points of mlperf-logging and adds one, in the form that its rcp_checker takes as
custom RCPs. Mean, deviation and pruning are the package's own figures, asked for in a child process
(launcher.rcppoints). It never makes a point of anything but the reference in fp32.
"""

import json
import re
import subprocess  # noqa: TID251 - the package runs in a process of its own
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.core.benchmark import Benchmark
from launcher.core.plan import MARK, RULESET, Plan
from launcher.core.result import Result, Status
from launcher.errors import ConfigError, LogError

TIME_LIMIT_S = 120
_CHILD = Path(__file__).with_name("rcppoints.py")
_FP32 = re.compile(r"^\s*precision:\s*\"?fp32\"?\s*(#|$)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What mlperf-logging makes of one point."""

    name: str
    batch: int
    runs: int
    mean: float  # epochs or samples, without the fastest and the slowest run
    deviation: float
    fastest: float  # smallest mean that a submission may have
    pruned: bool  # left out when submissions are judged, as slower than its neighbours say


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A new point among the old ones."""

    name: str
    text: str  # of the file
    figures: tuple[Figures, ...]  # of all points, by batch size

    @property
    def own(self) -> Figures:
        """The figures of the new point."""
        return next(figures for figures in self.figures if figures.name == self.name)


def required_runs(benchmark: Benchmark) -> int:
    """Return how many runs a point is made of: twice a result's (training_rules, "RCPs")."""
    return 2 * benchmark.facts.required_runs


def point(plan: Plan, hyperparameters: str, results: Sequence[Result]) -> Point:
    """Make a point of a complete run set.

    Raises ConfigError when the set is not the reference's, not in fp32 or too small, or its batch
    has a point already; LogError when a run did not converge or the package does not answer.
    """
    _refuse(plan, hyperparameters)
    batch = int(plan.hyperparameters["global_batch_size"])
    name = f"{plan.benchmark.value}_ref_{batch}"
    entry: dict[str, Any] = {
        "Benchmark": plan.benchmark.value,
        "Creator": str(plan.system.get("submitter", "")),
        "When": plan.created,
        "Platform": str(plan.system.get("name", "")),
        "Precision": "fp32",
        "Reference": f"{plan.source['pin']}, patches {plan.source['patches_sha256']}",
        "BS": batch,
        "Hyperparams": dict(plan.hyperparameters),
        "Epochs to converge": [_progress(number, run) for number, run in enumerate(results)],
    }
    if plan.rehearsal:
        entry = {"Note": MARK, **entry}
    answer = _ask(plan.benchmark, {name: entry})
    _refuse_taken(plan, answer["taken"])
    figures = tuple(Figures(**each) for each in answer["figures"])
    return Point(name=name, text=json.dumps(answer["file"], indent=2) + "\n", figures=figures)


def place(asked: Path, *, rehearsal: bool) -> Path:
    """Return where the file goes: a rehearsal's carries its mark in the name."""
    return asked.with_name(f"REHEARSAL-{asked.name}") if rehearsal else asked


def check(plan: Plan, hyperparameters: str) -> None:
    """Raise ConfigError when a run set, finished or not, can never make a point."""
    _refuse(plan, hyperparameters)
    _refuse_taken(plan, _ask(plan.benchmark, {})["taken"])


def _refuse(plan: Plan, hyperparameters: str) -> None:
    if plan.implementation != "reference":
        raise ConfigError(
            f"the run set is by {plan.implementation!r}; only the reference makes convergence "
            "points: run it with --implementation reference."
        )
    if not _FP32.search(hyperparameters):
        raise ConfigError(
            "hyperparameters.yaml: training.precision is not fp32; a convergence point needs it."
        )
    needed = required_runs(plan.benchmark)
    if len(plan.seeds) < needed and not plan.rehearsal:
        raise ConfigError(
            f"the run set has {len(plan.seeds)} runs; a convergence point of "
            f"{plan.benchmark.value} needs at least {needed}: start a new one with --seeds."
        )


def _refuse_taken(plan: Plan, taken: Sequence[int]) -> None:
    batch = plan.hyperparameters["global_batch_size"]
    if batch in taken:
        raise ConfigError(
            f"global_batch_size is {batch}, which has a convergence point in ruleset {RULESET}; "
            f"points are wanted for others than {', '.join(map(str, taken))}."
        )


def _progress(number: int, result: Result) -> float:
    """Return the epochs or samples at which a run reached the target."""
    if result.status is not Status.SUCCESS or result.progress is None:
        raise LogError(
            f"run {number} did not reach the target ({result.reason or result.status.value}); a "
            "convergence point needs hyperparameters with which every run does."
        )
    return result.progress


def _ask(benchmark: Benchmark, points: dict[str, Any]) -> dict[str, Any]:
    """Ask mlperf-logging about its points and ours, in a process of its own."""
    question = {"benchmark": benchmark.value, "ruleset": RULESET, "points": points}
    try:
        done = subprocess.run(
            [sys.executable, _CHILD],
            input=json.dumps(question),
            timeout=TIME_LIMIT_S,
            check=False,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
    except subprocess.TimeoutExpired as error:
        raise LogError(f"mlperf-logging did not answer within {TIME_LIMIT_S} s.") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise LogError(f"mlperf-logging cannot use this convergence point: {said[0]}.")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
