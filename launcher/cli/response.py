"""`launcher response`: the one file that a proponent hands over."""

import functools
from pathlib import Path

import typer


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("response")(response)


def response(
    results: list[Path] = typer.Argument(
        None, help="Folder(s) with the run sets of one system; results/ when not given."
    ),
    template: Path = typer.Option(..., "--template", help="The RFP's Benchmark_Results.xlsx."),
    out: Path = typer.Option(
        Path("response.tar.zst"), "-o", "--out", help="The file to write, a tar.zst."
    ),
    reference: str | None = typer.Option(
        None,
        "--reference",
        help="Clone or archive of mlcommons/training at the pin, for the modified source.",
    ),
    draft: bool = typer.Option(
        False, "--draft", help="Build although errors stand; marked as a draft throughout."
    ),
) -> None:
    """Build the response: source, patches, logs, ledger, scores, report and filled workbook.

    Refuses rehearsals, and anything that its own verification or MLCommons' checkers find wrong.
    """
    from launcher import answer, check, package
    from launcher import response as responses
    from launcher.errors import ConfigError
    from launcher.report.form import Format
    from launcher.report.page import render

    found = answer.load(results or [Path("results")], check.check)
    try:
        template_bytes = template.read_bytes()
    except OSError as error:
        raise ConfigError(f"{template}: {error.strerror}; give the RFP's workbook.") from error
    order = responses.Order(template=template_bytes, reference=reference, draft=draft)
    findings = responses.build(
        found,
        order,
        out,
        report=functools.partial(render, form=Format.HTML),
        referee=check.check,
    )
    for finding in findings:
        typer.echo(f"{finding.severity.value}: {finding.where}: {finding.message}", err=True)
    typer.echo(f"{package.sha256(out)}  {out}")
