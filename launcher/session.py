"""A request to a worked-on run set: lock, plan or continue, run, and say how it stands.

The one road that `launcher run` takes; it prints nothing but through the board it is given.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from launcher import containers, planning, runset
from launcher.core import presets
from launcher.core.plan import MARK, Plan
from launcher.core.result import Result, Status
from launcher.engine import base
from launcher.engine.base import Engine
from launcher.errors import ConfigError
from launcher.planning import Draft
from launcher.progress import Board, Row
from launcher.recovery import read_result
from launcher.request import Request
from launcher.runner import Limits, Outcome, Runner, Stop
from launcher.store import Store

_TARGET = re.compile(r"^\s*target_accuracy:\s*(\d+(?:\.\d+)?)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a session left a run set."""

    folder: Path
    plan: Plan
    outcome: Outcome
    results: tuple[Result, ...]

    @property
    def void(self) -> bool:
        """Say whether so many runs failed that the set is no result: two or more."""
        failures = sum(result.status is not Status.SUCCESS for result in self.results)
        return self.outcome is Outcome.COMPLETE and failures > 1


def begin(
    request: Request,
    results: Path,
    limits: Limits,
    *,
    console: Console,
    say: Callable[[str], None],
) -> Ended:
    """Work on the run set of a request until it is complete, interrupted or paused."""
    planning.check_seeds(request)
    place, system, chosen = planning.choose_system(request)
    folder = planning.run_set(results, system.name, request.benchmark, rehearsal=request.rehearsal)
    if chosen:
        say(chosen)
    store, stop = Store(folder, rehearsal=request.rehearsal), Stop()
    with stop.listening(), store.locked():
        plan = store.plan()
        if plan is None:
            made = planning.draft(request, place, system, folder)
            for note in made.notes:
                say(note)
            store.freeze(made.plan, made.hyperparameters)
            plan, engine = made.plan, made.engine
        else:
            engine = _continued(request, plan, folder, say)
        board = _board(store, plan, console)
        runner = Runner(store, plan, engine, board, stop=stop, limits=limits)
        with board.shown():
            outcome = runner.work()
        return Ended(
            folder=folder, plan=plan, outcome=outcome, results=tuple(results_of(store, plan))
        )


def rehearse_on_paper(request: Request, results: Path) -> tuple[Draft, Path]:
    """Check everything and return what would be started, without writing a run set."""
    planning.check_seeds(request)
    place, system, _ = planning.choose_system(request)
    folder = planning.run_set(results, system.name, request.benchmark, rehearsal=request.rehearsal)
    return planning.draft(request, place, system, folder), folder


def results_of(store: Store, plan: Plan) -> list[Result]:
    """Read what every run's log says so far."""
    aim = target(store.folder, plan)
    return [read_result(store, number, plan, aim) for number in range(len(plan.seeds))]


def target(folder: Path, plan: Plan) -> float:
    """Return the accuracy at which a run of this set stops: a rehearsal has its own."""
    if plan.rehearsal:
        path = folder / runset.HYPERPARAMETERS
        text = path.read_text(encoding="utf-8", errors="replace")
        if found := _TARGET.search(text):
            return float(found[1])
    return plan.benchmark.facts.quality_target


def rows(store: Store, plan: Plan) -> list[Row]:
    """Return one row per planned run, with what its log says so far."""
    aim = target(store.folder, plan)
    found = []
    for number, result in enumerate(results_of(store, plan)):
        seed = plan.seeds[number]
        row = Row(number=number, seed=seed, benchmark=plan.benchmark, target=aim)
        if store.run(number).log.exists():
            row.show(result)
            if store.ended(number) is None:
                row.state = "running" if result.start_ms is not None else "starting"
        found.append(row)
    return found


def standing(folder: Path, plan: Plan, shown: Sequence[Row]) -> dict[str, Any]:
    """Return how a run set stands, at work or not, as plain values."""
    return {
        "folder": str(folder),
        "benchmark": plan.benchmark.value,
        "rehearsal": plan.rehearsal,
        **({"mark": MARK} if plan.rehearsal else {}),
        "engine": plan.engine,
        "runs": [
            {
                "run": row.number,
                "seed": row.seed,
                "state": row.state,
                "progress": row.progress,
                "accuracy": row.accuracy,
                "target": row.target,
                "elapsed_s": row.elapsed_s,
            }
            for row in shown
        ],
    }


def summary(ended: Ended) -> dict[str, Any]:
    """Return how a session ended, as plain values."""
    return {
        "folder": str(ended.folder),
        "benchmark": ended.plan.benchmark.value,
        "rehearsal": ended.plan.rehearsal,
        **({"mark": MARK} if ended.plan.rehearsal else {}),
        "engine": ended.plan.engine,
        "outcome": ended.outcome.value,
        "void": ended.void,
        "runs": [
            {
                "run": number,
                "seed": ended.plan.seeds[number],
                "status": result.status.value,
                "reason": result.reason,
                "minutes": None if result.minutes is None else float(result.minutes),
                "accuracy": result.accuracy,
                ended.plan.benchmark.facts.convergence_unit: result.progress,
            }
            for number, result in enumerate(ended.results)
        ],
    }


def _continued(request: Request, plan: Plan, folder: Path, say: Callable[[str], None]) -> Engine:
    """Return the engine of a plan that is there already; refuse a request for another plan."""
    asked = {
        "--seeds": (request.seeds, len(plan.seeds)),
        "--implementation": (request.implementation, plan.implementation),
        "--engine": (request.engine or plan.engine, plan.engine),
        "--preset": (request.preset or plan.preset, plan.preset),
    }
    for option, (wanted, planned) in asked.items():
        if wanted != planned:
            raise ConfigError(
                f"{option} is {wanted}, but {folder} holds a plan with {planned}, and a plan never "
                "changes; ask for that, or start another set with --results."
            )
    say(f"{folder}: continuing the plan of {plan.created}.")
    engine = containers.engine_of(plan)
    spec = base.from_json(plan.container)
    count = plan.system.get("accelerators", {}).get("count", 0)
    planning.check(engine, spec, folder, count)
    return engine


def _board(store: Store, plan: Plan, console: Console) -> Board:
    found = [row for row in presets.TABLE if row.name == plan.preset]
    mark = f"{MARK}: " if plan.rehearsal else ""
    return Board(
        f"{mark}{plan.benchmark.facts.title}, {store.folder}",
        rows(store, plan),
        expected=found[0].progress if found else None,
        console=console,
    )
