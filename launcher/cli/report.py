"""`launcher report`: one page that explains a result."""

from pathlib import Path

import typer

from launcher.report.form import Format


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("report")(report)


def report(
    results: list[Path] = typer.Argument(
        None, help="Folder(s) with run sets of one system, or MLPerf results; else results/."
    ),
    out: Path | None = typer.Option(
        None, "-o", "--out", help="File to write; report.html, or stdout for md and json."
    ),
    form: Format = typer.Option(Format.HTML, "--format", help="html, md or json."),
) -> None:
    """Write one self-contained page about a result: score, runs, evidence, changes."""
    from launcher import answer, check
    from launcher.errors import ConfigError
    from launcher.report.page import render

    found = answer.load(results or [Path("results")], check.check)
    text = render(found, form)
    if out is None and form is not Format.HTML:
        typer.echo(text, nl=False)
        return
    target = out or Path("report.html")
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{target}: {error.strerror}; choose another place with -o.") from error
    typer.echo(f"{target}: {len(text.encode()):,} bytes")
