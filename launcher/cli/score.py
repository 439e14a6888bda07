"""`launcher score`: from folders of logs to olympic means and the RFP's score."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from launcher.cli.terminal import printable
from launcher.core.plan import MARK

if TYPE_CHECKING:
    from launcher.runset import Run
    from launcher.scoring import Pair, Scored

RESULTS = Path("results")
ODDITIES = 5  # shown of each log; --json lists more
FOLDERS = typer.Argument(
    None, help="Run sets, or folders above them, or any tree of MLPerf results. [results]"
)
RCP_FILE = typer.Option(
    None, "--rcp-file", help="JSON file of reference convergence points to use instead."
)


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("score")(score)


def score(
    folders: list[Path] = FOLDERS,
    rcp_file: Path | None = RCP_FILE,
    as_json: bool = typer.Option(False, "--json", help="Print everything as JSON."),
) -> None:
    """Score run sets and published MLPerf results from their logs alone.

    Exit code 0: every set has a valid time; 1: one has not; 5: no logs could be read.
    """
    from launcher import scoring

    sets = scoring.rate(scoring.load(folders or [RESULTS]), rcp_file=rcp_file)
    pairs = scoring.pair(sets)
    if as_json:
        typer.echo(json.dumps(scoring.as_json(sets, pairs), indent=2, allow_nan=False))
    else:
        for line in _told(sets, pairs):
            typer.echo(printable(line))
    raise typer.Exit(0 if all(each.runs.score.valid for each in sets) else 1)


def _told(sets: "list[Scored]", pairs: "list[Pair]") -> Iterator[str]:
    for each in sets:
        yield from _set_lines(each)
        yield ""
    for pair in pairs:
        yield from _pair_lines(pair)
    if not pairs:
        yield "No score: it needs one ResNet and one BERT set; name two that belong together."


def _set_lines(scored: "Scored") -> Iterator[str]:
    runs = scored.runs
    found = runs.score
    mark = f"  {MARK}" if runs.rehearsal else ""
    yield f"{runs.benchmark.facts.title}: {runs.folder}{mark}"
    width = max(len(run.result.name) for run in runs.runs)
    for run in runs.runs:
        yield "  " + _run_line(run, scored, width)
        for odd in run.log.suspicious[:ODDITIES]:
            yield f"      {odd}"
        if len(run.log.suspicious) > ODDITIES:
            yield f"      and {sum(run.log.oddities.values()) - ODDITIES} more"
    if len(found.windows) > 1 and found.window is not None:
        names = found.scored[0].name, found.scored[-1].name
        even = ", the slower of the two middle ones" if len(found.windows) % 2 == 0 else ""
        yield (
            f"  {len(found.runs)} runs make {len(found.windows)} windows of {found.required}; the"
            f" one with the median mean is scored{even}: {names[0]} to {names[1]}"
        )
    if not found.valid:
        yield f"  no valid result: {found.reason}"
        return
    yield f"  olympic mean          {found.minutes:12.6f} min = {found.minutes * 60:.3f} s"
    yield f"  normalised (RCP)      {_normalised(scored)}"


def _run_line(run: "Run", scored: "Scored", width: int) -> str:
    from launcher import scoring

    result = run.result
    minutes = f"{result.elapsed:10.4f} min" if result.elapsed is not None else " " * 14
    progress = ""
    if result.progress is not None:
        progress = f"{result.progress:>12,.10g} {scored.runs.benchmark.facts.convergence_unit}"
    accuracy = f"{result.accuracy:.5f}" if result.accuracy is not None else " " * 7
    note = scoring.dropped(run, scored.runs)
    note = {"": "", "outside": "not in the scored window"}.get(note, f"dropped: {note}")
    notes = "; ".join(part for part in (result.reason, note) if part)
    return (
        f"{result.name:<{width}}  {result.status.value:<10} {minutes}  {progress:>20}"
        f"  {accuracy}  seed {result.seed}  {notes}"
    ).rstrip()


def _normalised(scored: "Scored") -> str:
    if scored.convergence is None or scored.normalised is None:
        told = scored.convergence.message if scored.convergence else "a rehearsal has no reference"
        return f"not known: {told}"
    verdict = "" if scored.convergence.passed else "  RCP NOT PASSED"
    return (
        f"{scored.normalised:12.6f} min = {scored.runs.score.minutes:.6f} x {scored.factor:.7f}"
        f" ({scored.convergence.message}){verdict}"
    )


def _pair_lines(pair: "Pair") -> Iterator[str]:
    folders = f"{pair.resnet.runs.folder} with {pair.bert.runs.folder}"
    if not pair.valid:
        yield f"No score for {folders}: both need a valid result."
        return
    mark = f"  {MARK}" if pair.rehearsal else ""
    normalised = pair.scores.normalised
    yield f"Score = 7.19/R + 9.05/B, R and B in minutes, of {folders}{mark}"
    yield f"  raw         {pair.scores.raw.arithmetic}"
    yield f"  normalised  {normalised.arithmetic if normalised else 'not known'}"
