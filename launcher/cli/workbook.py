"""`launcher workbook`: measured times into the RFP's workbook."""

from pathlib import Path

import typer


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("workbook")(workbook)


def workbook(
    results: list[Path] = typer.Argument(
        None, help="Folder(s) with the run sets of one system; results/ when not given."
    ),
    template: Path = typer.Option(
        ..., "--template", help="The RFP's Benchmark_Results.xlsx; it is not changed."
    ),
    out: Path = typer.Option(
        Path("Benchmark_Results-filled.xlsx"), "-o", "--out", help="Where the filled copy goes."
    ),
) -> None:
    """Fill the MLPerf tab: seconds, nodes, tasks, software, changes. All else stays as it is."""
    from launcher import answer, check, tab
    from launcher import workbook as workbooks
    from launcher.errors import ConfigError

    found = answer.load(results or [Path("results")], check.check)
    if found.rehearsal:
        raise ConfigError("these runs are a rehearsal, which is never a result; run for real.")
    if out.exists() and template.exists() and out.samefile(template):
        raise ConfigError(f"-o: {out} is the template itself, which is not changed; name another.")
    try:
        filled, findings = workbooks.fill(template.read_bytes(), tab.of(found))
        out.write_bytes(filled)
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}.") from error
    for finding in findings:
        typer.echo(f"{finding.severity.value}: {finding.where}: {finding.message}", err=True)
    for benchmark, runs in found.sets.items():
        cell = benchmark.facts.workbook_cell
        minutes = runs.score.minutes
        typer.echo(f"{out}: {cell} = {minutes * 60:.3f} s ({minutes:.4f} min), {benchmark.value}")
