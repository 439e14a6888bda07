"""`launcher compare`: from several answers to one table and what to know about it."""

import json
from pathlib import Path

import typer

from launcher.cli.terminal import printable


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("compare")(compare)


def compare(
    packages: list[Path] = typer.Argument(
        help="Responses (archive or folder), run sets, or folders of MLPerf results."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print everything as JSON."),
) -> None:
    """Rank answers by normalised score, with the interval of chance and the evidence of each.

    Exit code 0: every answer has a valid result and no errors; 1: one has not.
    """
    from launcher import compare as comparing
    from launcher.report import yardstick

    entries = comparing.compare(packages)
    if as_json:
        typer.echo(json.dumps(comparing.as_json(entries), indent=2, allow_nan=False))
    else:
        width = max(len(each.name) for each in entries)
        typer.echo(f"{'':{width}}  normalised      raw    95 %  evidence")
        for each in entries:
            score = "      none" if each.normalised is None else f"{each.normalised:10.4f}"
            chance = "   none" if each.half_width is None else f"{each.half_width:7.4f}"
            line = f"{each.name:{width}}  {score}  {each.raw:7.4f}  {chance}  {each.evidence}"
            typer.echo(printable(line))
        for remark in comparing.remarks(entries):
            typer.echo(printable(remark))
        typer.echo(
            "Context, not evidence: public single nodes of MLPerf Training v4.0, normalised:"
        )
        for node in yardstick.NODES:
            typer.echo(f"  {node.score:7.4f}  {node.name}")
    raise typer.Exit(0 if all(each.pair.valid and not each.errors for each in entries) else 1)
