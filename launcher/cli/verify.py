"""`launcher verify`: from a received response to a verdict per claim."""

import json
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from launcher.package import RCPS

if TYPE_CHECKING:
    from launcher.check import Checked
    from launcher.verify import Referee, Verification

_SCRIPTS = ("LATIN", "CJK", "HIRAGANA", "KATAKANA", "HANGUL")


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("verify")(verify)


def verify(  # noqa: PLR0917 - typer reads the options from here
    response: Path = typer.Argument(
        help="A response (.tar.zst, .tar.gz, .tar, .zip or folder), or a folder of MLPerf results."
    ),
    reference: str | None = typer.Option(
        None,
        "--reference",
        help="Clone or archive of mlcommons/training at the pin: compares the modified source.",
    ),
    redaction_key: Path | None = typer.Option(
        None, "--redaction-key", help="The proponent's key, to check a redacted response in full."
    ),
    accept_rcps: bool = typer.Option(
        False,
        "--accept-rcps",
        help=f"Judge by the response's own convergence points, after reading {RCPS}.",
    ),
    all_claims: bool = typer.Option(False, "--all", help="Print what agrees, too, claim by claim."),
    as_json: bool = typer.Option(False, "--json", help="Print every claim as JSON."),
) -> None:
    """Recompute everything a response states. Nothing from the package is ever executed.

    Exit code 0: nothing differs; 1: something does; 6: the package cannot be read safely.
    """
    from launcher import check, redaction
    from launcher import verify as verifying

    key = redaction.load(redaction_key) if redaction_key else None
    found = verifying.verify(
        response,
        referee=check.check,
        reference=reference,
        key=key,
        points=_judging_by if accept_rcps else None,
        page=_page,
    )
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=2, allow_nan=False))
    else:
        for line in _told(found, all_claims=all_claims):
            typer.echo(_printable(line))
    raise typer.Exit(0 if found.agrees else 1)


def _judging_by(rcp_file: Path) -> "Referee":
    import functools

    from launcher import check

    return functools.partial(check.check, rcp_file=rcp_file)


def _page(folder: Path, checked: "Sequence[Checked]") -> str:
    from launcher import answer
    from launcher.report.form import Format
    from launcher.report.page import render

    return render(answer.load([folder], lambda _: checked), Format.HTML)


def _told(found: "Verification", *, all_claims: bool) -> Iterator[str]:
    from launcher.verify.claims import Verdict

    for claim in found.claims:
        if all_claims or claim.verdict is not Verdict.AGREES:
            yield f"{claim.verdict.value:<11}  {claim.where}: {claim.name}: {claim.message}"
    counts = ", ".join(f"{found.count(verdict)} {verdict.value}" for verdict in Verdict)
    yield f"{found.package} ({found.kind}): {counts}"
    if found.scores is not None:
        normalised = found.scores.normalised
        yield f"score, raw         {found.scores.raw.arithmetic}"
        yield f"score, normalised  {normalised.arithmetic if normalised else 'not known'}"


def _printable(text: str) -> str:
    """Keep a stranger's text from steering the terminal, and from looking like other text."""
    return "".join(char if _plain(char) else ascii(char)[1:-1] for char in text)


def _plain(char: str) -> bool:
    """Say whether a character is what it looks like: a Cyrillic or full-width letter may not be."""
    if char.isascii() or not char.isalnum():
        return char.isprintable()
    return unicodedata.name(char, "").startswith(_SCRIPTS)
