"""`launcher check`: from run sets to everything that can be said against them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from launcher.cli.score import FOLDERS, RCP_FILE, RESULTS
from launcher.cli.terminal import printable
from launcher.core.plan import MARK

if TYPE_CHECKING:
    from launcher.check import Checked


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("check")(check)


def check(
    folders: list[Path] = FOLDERS,
    rcp_file: Path | None = RCP_FILE,
    everything: bool = typer.Option(False, "--all", help="Print notes, too, not only problems."),
    as_json: bool = typer.Option(False, "--json", help="Print everything as JSON."),
) -> None:
    """Check run sets with mlperf-logging, ruleset 4.0.0, and against their own plan and ledger.

    Exit code 0: nothing found is an error; 1: something is; 5: no logs could be read.
    """
    from launcher import check as checking
    from launcher import scoring

    checked = checking.check(scoring.load(folders or [RESULTS]), rcp_file=rcp_file)
    if as_json:
        typer.echo(json.dumps(checking.as_json(checked), indent=2, allow_nan=False))
    else:
        for each in checked:
            for line in _told(each, everything=everything):
                typer.echo(printable(line))
    raise typer.Exit(0 if all(each.valid for each in checked) else 1)


def _told(checked: "Checked", *, everything: bool) -> Iterator[str]:
    from launcher.core.findings import Severity

    runs = checked.runs
    mark = f"  {MARK}" if runs.rehearsal else ""
    yield f"{runs.benchmark.facts.title}: {runs.folder}{mark}"
    compliant = sum(checked.opinion.compliant)
    yield f"  mlperf-logging 4.0.0: {compliant} of {len(runs.runs)} logs are compliant"
    for verdict in checked.verdicts:
        mark = "ok " if verdict.ok else "NOT"
        rule = f"{verdict.freedom.value}: {verdict.allowed}"
        yield f"  {mark} {verdict.key:<40} {verdict.value!s:<12} {rule}  {verdict.note}".rstrip()
    for finding in checked.findings:
        if everything or finding.severity is not Severity.NOTE:
            weight = finding.severity.value
            yield f"  {weight:<7} {finding.where}: {finding.message} [{finding.rule}]"
    counts = ", ".join(f"{checked.count(severity)} {severity.value}s" for severity in Severity)
    yield f"  {'valid' if checked.valid else 'NOT VALID'}: {counts}"
    yield ""
