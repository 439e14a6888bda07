"""`run` makes the runs of a benchmark, `status` shows a run set."""

import enum
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from launcher.cli.images import Implementation
from launcher.core.benchmark import Benchmark
from launcher.core.plan import MARK
from launcher.errors import ConfigError

if TYPE_CHECKING:
    from launcher.core.result import Result
    from launcher.request import Request
    from launcher.session import Ended

INTERRUPTED = 130
MINUTES = {False: 24 * 60.0, True: 60.0}  # of one run at most; key: rehearsal


class EngineName(enum.Enum):
    """What runs a seed."""

    DOCKER = "docker"
    PROCESS = "process"


TASK = typer.Option(..., "--task", help="resnet or bert.")
SEEDS = typer.Option(
    None, "--seeds", help="Runs to make, each with its own seed; default: as the rules ask."
)
SYSTEM = typer.Option(
    None, "--system", help="System file; default: the one in systems/ that is no example."
)
PRESET = typer.Option(
    None, "--preset", help="record, safe or a preset's name; default: the system file's."
)
REHEARSAL = typer.Option(
    False, "--rehearsal", help="Tiny model, small data, any machine; NOT A RESULT."
)
ENGINE = typer.Option(
    None, "--engine", help="Default: docker; a rehearsal without engine or image: process."
)
IMPLEMENTATION = typer.Option(
    Implementation.PYTORCH, "--implementation", help="Our program, or the patched reference."
)
REFERENCE = typer.Option(None, "--reference", help="Where the reference comes from, as in `tree`.")
TENSORFLOW_PYTHON = typer.Option(
    None,
    "--tensorflow-python",
    help="A Python with TensorFlow 2.15.1, for the reference without containers.",
)
RESULTS = typer.Option(Path("results"), "--results", help="Where run sets lie.")
DATA = typer.Option(None, "--data", help="Prepared data; a rehearsal makes it.")
CHECKPOINT = typer.Option(
    None, "--checkpoint", help="bert: initial checkpoint; default: DATA/checkpoint."
)
IMAGE = typer.Option(None, "--image", help="Default: the one of compose.yaml.")
ALLOW_STALE_IMAGE = typer.Option(
    False, "--allow-stale-image", help="Take an image of another source; marks the run set."
)
TIME_LIMIT = typer.Option(
    None, "--time-limit", help="Minutes of one run; default: 24 hours, a rehearsal 1 hour."
)
UNTIL = typer.Option(None, "--until", help="HH:MM after which no run starts.")
DRY_RUN = typer.Option(
    False, "--dry-run", help="Check everything, print the container, start nothing."
)
AS_JSON = typer.Option(False, "--json", help="Print the outcome as JSON.")


def register(app: typer.Typer) -> None:
    """Add `run` and `status`."""
    app.command()(run)
    app.command()(status)


def run(
    *,
    task: Benchmark = TASK,
    seeds: int | None = SEEDS,
    system: Path | None = SYSTEM,
    preset: str | None = PRESET,
    rehearsal: bool = REHEARSAL,
    engine: EngineName | None = ENGINE,
    implementation: Implementation = IMPLEMENTATION,
    reference: str | None = REFERENCE,
    tensorflow_python: Path | None = TENSORFLOW_PYTHON,
    results: Path = RESULTS,
    data: Path | None = DATA,
    checkpoint: Path | None = CHECKPOINT,
    image: str | None = IMAGE,
    allow_stale_image: bool = ALLOW_STALE_IMAGE,
    time_limit: float | None = TIME_LIMIT,
    until: str | None = UNTIL,
    dry_run: bool = DRY_RUN,
    as_json: bool = AS_JSON,
) -> None:
    """Train: one fresh container per seed. Started again, it continues where it stood."""
    from rich.console import Console

    from launcher import session
    from launcher.request import Request
    from launcher.runner import Limits, Outcome

    request = Request(
        benchmark=task,
        seeds=task.facts.required_runs if seeds is None else seeds,
        rehearsal=rehearsal,
        system=system,
        preset=preset,
        engine=engine.value if engine else None,
        implementation=implementation.value,
        reference=reference,
        tensorflow_python=tensorflow_python,
        data=data,
        checkpoint=checkpoint,
        image=image,
        allow_stale_image=allow_stale_image,
    )
    if dry_run:
        _print_container(request, results, as_json=as_json)
        return
    minutes = MINUTES[rehearsal] if time_limit is None else time_limit
    if not 0 < minutes < float("inf"):
        raise ConfigError(f"--time-limit is {minutes:g}; write minutes, more than 0.")
    limits = Limits(run_s=60 * minutes, until=_moment(until) if until else float("inf"))
    ended = session.begin(
        request,
        results,
        limits,
        console=Console(stderr=as_json),
        say=lambda text: typer.echo(text, err=as_json),
    )
    typer.echo(json.dumps(session.summary(ended), indent=2) if as_json else _sentence(ended))
    if ended.outcome is Outcome.INTERRUPTED:
        raise typer.Exit(INTERRUPTED)
    if ended.void:
        raise typer.Exit(1)


def status(
    folder: Path = typer.Argument(Path("results"), help="A run set, or a folder of run sets."),
    *,
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Show run sets, also while another process works on them."""
    from rich.console import Console

    from launcher import runset, session
    from launcher.progress import table
    from launcher.store import Store

    found = sorted(path.parent for path in folder.rglob(runset.PLAN))
    if not found:
        raise ConfigError(f"{folder} holds no run set; name a folder that `launcher run` made.")
    told = []
    for place in found:
        plan = Store(place, rehearsal=False).plan()
        if plan is None:
            continue
        rows = session.rows(Store(place, rehearsal=plan.rehearsal), plan)
        mark = f"{MARK}: " if plan.rehearsal else ""
        if not as_json:
            Console().print(table(f"{mark}{plan.benchmark.facts.title}, {place}", rows))
        told.append(session.standing(place, plan, rows))
    if as_json:
        typer.echo(json.dumps(told, indent=2))


def _print_container(request: "Request", results: Path, *, as_json: bool) -> None:
    """Print what would be started for every seed."""
    from launcher import session

    made, folder = session.rehearse_on_paper(request, results)
    plan = made.plan
    told = {
        "folder": str(folder),
        **({"mark": MARK} if plan.rehearsal else {}),
        "runs": len(plan.seeds),
        "engine": plan.engine,
        "preset": plan.preset,
        "container": dict(plan.container),
        "notes": list(made.notes),
    }
    if as_json:
        typer.echo(json.dumps(told, indent=2))
        return
    for note in made.notes:
        typer.echo(note)
    typer.echo(f"{len(plan.seeds)} runs by {plan.engine} in {folder}, each in a fresh container:")
    typer.echo(json.dumps(told["container"], indent=2))
    typer.echo(f"with hyperparameters.yaml:\n{made.hyperparameters}")


def _sentence(ended: "Ended") -> str:
    """Say how the set stands and what to do next."""
    from launcher.runner import Outcome

    good = sum(result.converged for result in ended.results)
    total = len(ended.plan.seeds)
    mark = f"{MARK}. " if ended.plan.rehearsal else ""
    said = f"{mark}{ended.folder}: {good} of {total} runs converged"
    if ended.outcome is Outcome.INTERRUPTED:
        begun = [number for number, each in enumerate(ended.results) if _spoilt(each)]
        named = f"run {', '.join(map(str, begun))} had begun and did not converge (a set is "
        count = f"{named}forgiven one); " if begun else ""
        return f"{said}; interrupted: {count}start the same command again to continue."
    if ended.outcome is Outcome.PAUSED:
        return f"{said}; paused by --until: start the same command again to continue."
    if ended.void:
        return f"{said}; with two or more that did not, the set is no result."
    return f"{said}; the set is complete: `launcher score {ended.folder}` is next."


def _spoilt(result: "Result") -> bool:
    """Say whether a run's clock had started in vain: it keeps its number and is never repeated."""
    return result.start_ms is not None and not result.converged


def _moment(text: str) -> float:
    """Return the next time the clock shows HH:MM, in seconds since 1970."""
    now = datetime.now()  # noqa: DTZ005 - the clock on the wall, also across a change to summer time
    try:
        clock = datetime.strptime(text, "%H:%M").time()  # noqa: DTZ007 - a time of day
    except ValueError:
        raise ConfigError(f"--until is {text!r}; write a time of day such as 08:00.") from None
    moment = now.replace(hour=clock.hour, minute=clock.minute, second=0, microsecond=0)
    return (moment if moment > now else moment + timedelta(days=1)).timestamp()
