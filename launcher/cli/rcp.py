"""`rcp` runs the reference often enough to make a convergence point for a new batch size."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from launcher.cli.runs import INTERRUPTED, EngineName
from launcher.core.benchmark import Benchmark
from launcher.core.plan import MARK

if TYPE_CHECKING:
    from launcher.rcp import Figures, Point


def register(app: typer.Typer) -> None:
    """Add `rcp`."""
    app.command()(rcp)


def rcp(
    *,
    task: Benchmark = typer.Option(..., "--task", help="resnet or bert."),
    out: Path = typer.Option(Path("rcps.json"), "--out", help="File to write: old points and new."),
    seeds: int | None = typer.Option(
        None, "--seeds", help="Runs of the reference; default: twice a result's."
    ),
    system: Path | None = typer.Option(
        None, "--system", help="System file whose batch size wants a point."
    ),
    rehearsal: bool = typer.Option(
        False, "--rehearsal", help="Tiny model, small data, any machine; NOT A RESULT."
    ),
    engine: EngineName | None = typer.Option(None, "--engine", help="As in `run`."),
    reference: str | None = typer.Option(None, "--reference", help="As in `run`."),
    tensorflow_python: Path | None = typer.Option(None, "--tensorflow-python", help="As in `run`."),
    data: Path | None = typer.Option(None, "--data", help="TFRecord files of the reference."),
    checkpoint: Path | None = typer.Option(
        None, "--checkpoint", help="bert: folder with model.ckpt-28252."
    ),
    results: Path = typer.Option(
        Path("results/rcp"), "--results", help="Where the run set lies; it is continued."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print the figures as JSON."),
) -> None:
    """Run the patched reference in fp32 and write its convergence point (`check --rcp-file`)."""
    from rich.console import Console

    from launcher import rcp as points
    from launcher import session
    from launcher.request import Request
    from launcher.runner import Limits, Outcome
    from launcher.runset import HYPERPARAMETERS

    request = Request(
        benchmark=task,
        seeds=points.required_runs(task) if seeds is None else seeds,
        rehearsal=rehearsal,
        system=system,
        engine=engine.value if engine else None,
        implementation="reference",
        reference=reference,
        tensorflow_python=tensorflow_python,
        data=data,
        checkpoint=checkpoint,
    )
    draft, _ = session.rehearse_on_paper(request, results)
    points.check(draft.plan, draft.hyperparameters)  # before days of training, not after
    ended = session.begin(
        request,
        results,
        Limits(run_s=float("inf")),
        console=Console(stderr=as_json),
        say=lambda text: typer.echo(text, err=as_json),
    )
    if ended.outcome is not Outcome.COMPLETE:
        raise typer.Exit(INTERRUPTED)
    text = (ended.folder / HYPERPARAMETERS).read_text(encoding="utf-8")
    made = points.point(ended.plan, text, ended.results)
    file = points.place(out, rehearsal=ended.plan.rehearsal)
    file.write_text(made.text, encoding="utf-8")
    if as_json:
        told = {"file": str(file), "points": [dataclasses.asdict(each) for each in made.figures]}
        typer.echo(json.dumps(told, indent=2))
        return
    for line in _lines(made, task.facts.convergence_unit):
        typer.echo(line)
    use = "give it to `launcher check --rcp-file`"
    if ended.plan.rehearsal:
        use = f"{MARK}: `launcher check --rcp-file` refuses it"
    typer.echo(f"wrote {file}; {use}.")


def _lines(made: "Point", unit: str) -> list[str]:
    """Show the new point among the old ones."""
    rows = [f"{'batch':>8} {'runs':>5} {'mean ' + unit:>15} {'deviation':>12} {'fastest':>14}"]
    return rows + [_row(figures, new=figures.name == made.name) for figures in made.figures]


def _row(figures: "Figures", *, new: bool) -> str:
    marks = [mark for mark, holds in (("new", new), ("pruned", figures.pruned)) if holds]
    return (
        f"{figures.batch:>8} {figures.runs:>5} {figures.mean:>15,.3f} {figures.deviation:>12,.3f}"
        f" {figures.fastest:>14,.3f}  {', '.join(marks)}"
    ).rstrip()
