"""`launcher response`: the one file that a proponent hands over."""

import dataclasses
import functools
from pathlib import Path

import typer


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("response")(response)


def response(  # noqa: PLR0917 - typer reads the options from here
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
    rcp_file: Path | None = typer.Option(
        None,
        "--rcp-file",
        help="Convergence points of `launcher rcp` to judge by; the response carries them.",
    ),
    system: Path | None = typer.Option(
        None, "--system", help="System file of logs that come without a plan (drafts only)."
    ),
    redact: bool = typer.Option(
        False, "--redact", help="Replace host names, users and host paths; keeps a key beside it."
    ),
    redact_also: list[str] = typer.Option(
        [], "--redact-also", help="A further text to replace; may be given again."
    ),
) -> None:
    """Build the response: source, patches, logs, ledger, scores, report and filled workbook.

    Refuses rehearsals, and anything that its own verification or MLCommons' checkers find wrong.
    """
    from launcher import answer, check, filetree, redaction, systems
    from launcher import response as responses
    from launcher.report.form import Format
    from launcher.report.page import render

    referee = functools.partial(check.check, rcp_file=rcp_file)
    found = answer.load(results or [Path("results")], referee)
    if system is not None:
        found = dataclasses.replace(found, system=systems.load(system))
    key = redaction.secrets(found.sets.values(), redact_also) if redact or redact_also else None
    order = responses.Order(
        template=_bytes(template), reference=reference, draft=draft, redact=key, rcp_file=rcp_file
    )
    page = functools.partial(render, form=Format.HTML)
    findings = responses.build(found, order, out, report=page, referee=referee)
    for finding in findings:
        typer.echo(f"{finding.severity.value}: {finding.where}: {finding.message}", err=True)
    if key is not None:
        kept = out.with_name(f"{out.name}.redaction-key.json")
        kept.write_text(key.dumps(), encoding="utf-8")
        typer.echo(f"{kept}: {len(key.tokens)} names replaced; keep this file, do not hand it over")
    typer.echo(f"{filetree.sha256(out)}  {out}")


def _bytes(template: Path) -> bytes:
    from launcher.errors import ConfigError

    try:
        return template.read_bytes()
    except OSError as error:
        raise ConfigError(f"{template}: {error.strerror}; give the RFP's workbook.") from error
