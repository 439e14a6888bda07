"""`launcher forecast`: from a run set at work to what it may come to, and when."""

import json
from pathlib import Path

import typer

from launcher.cli.score import RESULTS
from launcher.cli.terminal import printable
from launcher.core.plan import MARK
from launcher.errors import LogError


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("forecast")(forecast)


def forecast(
    folders: list[Path] = typer.Argument(
        None, help="Run sets of this launcher, or folders above them. [results]"
    ),
    as_json: bool = typer.Option(False, "--json", help="Print everything as JSON."),
) -> None:
    """Say what a run set at work may come to: time left, chance of a void set, RCP factor."""
    from launcher import forecast as forecasts
    from launcher import scoring

    outlooks = [forecasts.look(runs) for runs in scoring.load(folders or [RESULTS]) if runs.plan]
    if not outlooks:
        raise LogError("these logs have no plan.json; name a run set of this launcher.")
    if as_json:
        told = [forecasts.as_json(each) for each in outlooks]
        typer.echo(json.dumps(told, indent=2, allow_nan=False))
        return
    for each in outlooks:
        mark = f"  {MARK}" if each.runs.rehearsal else ""
        typer.echo(printable(f"{each.runs.benchmark.facts.title}: {each.runs.folder}{mark}"))
        for line in forecasts.told(each):
            typer.echo(f"  {line}")
