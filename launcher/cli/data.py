"""`prepare`, `data verify` and `data stats`: data sets made, proved and described."""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import typer

from launcher import dataset
from launcher.core.benchmark import Benchmark
from launcher.core.findings import valid
from launcher.errors import ConfigError
from launcher.paths import BUILD
from launcher.prepare.progress import Progress, Report

DATA = typer.Option(..., "--data", help="Directory of the prepared data set.")
WORKERS = typer.Option(None, min=1, help="Processes that share the work; default: one a core.")


def register(app: typer.Typer) -> None:
    """Add `prepare` and the group `data`."""
    group = typer.Typer(no_args_is_help=True, help="Verify or describe a prepared data set.")
    app.command()(prepare)
    group.command()(verify)
    group.command()(stats)
    app.add_typer(group, name="data")


def prepare(
    *,
    task: Benchmark = typer.Option(..., help="Whose data: resnet or bert."),
    source: Path = typer.Option(..., help="Directory of the downloads (docs/data.md says which)."),
    data: Path = typer.Option(..., help="Directory to make; an interrupted start is continued."),
    labels: Path | None = typer.Option(
        None, help="resnet: file that says which class each validation image shows."
    ),
    vocab: Path | None = typer.Option(None, help="bert: vocab.txt; default: the source's own."),
    tensorflow_python: str | None = typer.Option(
        None, help="bert from text: a Python that has TensorFlow 2.15.1."
    ),
    image: str | None = typer.Option(
        None,
        help="bert from text, instead of a Python: image of `launcher images build --task bert "
        "--implementation reference`.",
    ),
    tree: Path = typer.Option(
        BUILD / "bert", help="bert from text: source tree of `make tree TASK=bert`."
    ),
    wikiextractor: Path | None = typer.Option(
        None, help="bert from a dump: WikiExtractor.py of commit 3162bb6c."
    ),
    wikiextractor_python: str | None = typer.Option(
        None, help="bert from a dump: a Python 3.6 to 3.10, which WikiExtractor needs."
    ),
    workers: int | None = WORKERS,
    rehearsal: bool = typer.Option(
        False, "--rehearsal", help="Take any part of the data set; no real run accepts the result."
    ),
) -> None:
    """Make a data set from what you downloaded: verified, repacked for fast reading, attested."""
    from launcher.prepare import sources, statistics
    from launcher.prepare.work import Crew

    with _progress() as report:
        manifest = sources.prepare(
            task,
            sources.Request(
                source=source,
                crew=Crew(root=data, workers=workers or _cores(), report=report),
                labels=labels,
                vocabulary=vocab,
                tensorflow_python=tensorflow_python,
                image=image,
                tree=tree,
                wikiextractor=wikiextractor,
                wikiextractor_python=wikiextractor_python,
                rehearsal=rehearsal,
            ),
        )
    for split in manifest.splits:
        typer.echo(f"{split.name}: {split.samples:,} samples in {len(split.files):,} files")
    for name, value in statistics.describe(manifest)["train"].items():
        if name in {"sequences_per_row", "padding"}:
            typer.echo(f"train: {name} {value}")
    typer.echo(f"{data / dataset.NAME}: complete; `launcher data verify --full` reads it all again")


def verify(
    *,
    data: Path = DATA,
    full: bool = typer.Option(False, "--full", help="Read every byte and every sample."),
    workers: int | None = WORKERS,
    as_json: bool = typer.Option(False, "--json", help="Print the attestation as JSON."),
) -> None:
    """Compare a data set with its manifest and seal the outcome into dataset.json."""
    from launcher.prepare import inspection

    manifest, _ = dataset.read(data)
    if full:
        with _progress() as report:
            findings = inspection.full(data, manifest, workers=workers or _cores(), report=report)
    else:
        findings = inspection.quick(data, manifest)
    outcome = inspection.outcome(findings, "full" if full else "quick")
    if os.access(data, os.W_OK):
        dataset.write(data, manifest, outcome)
    else:
        typer.echo(f"{data}: is read-only, so the outcome is not kept in it", err=True)
    if as_json:
        attestation = dataset.attestation(manifest, outcome)
        typer.echo(json.dumps(attestation, indent=2, sort_keys=True))
    else:
        for finding in findings:
            typer.echo(f"{finding.severity.value}: {finding.where}: {finding.message}")
        for split in manifest.splits:
            typer.echo(f"{split.name}: {split.samples:,} samples, content {split.content[:16]}")
        typer.echo(f"{outcome['level']} look: {'valid' if outcome['valid'] else 'INVALID'}")
    if not valid(findings):
        raise typer.Exit(1)


def stats(
    *,
    data: Path = DATA,
    svg: Path | None = typer.Option(None, help="Write the distributions as a picture, SVG."),
    read_seconds: float = typer.Option(
        5.0, min=0, help="Measure the storage by cold reads for so long; 0: do not."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print the figures as JSON."),
) -> None:
    """Show sizes, lengths, packing and how long a cold read of the data set takes here."""
    from launcher.prepare import statistics

    manifest, _ = dataset.read(data)
    figures = statistics.describe(manifest)
    if read_seconds:
        figures |= statistics.measure_storage(data, manifest, seconds=read_seconds)
    if svg is not None:
        try:
            svg.write_text(statistics.draw(manifest), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{svg}: cannot be written ({error.strerror}).") from error
    if as_json:
        typer.echo(json.dumps(figures, indent=2))
    else:
        typer.echo("\n".join(statistics.table(figures)))


def _cores() -> int:
    return len(os.sched_getaffinity(0))


@contextmanager
def _progress() -> Iterator[Report]:
    """Show how far each step is: a living line on a terminal, a line each ten seconds elsewhere."""
    living = sys.stderr.isatty()
    shown = 0.0

    def report(progress: Progress) -> None:
        nonlocal shown
        last = progress.done == progress.total
        if last or time.monotonic() - shown > (0.2 if living else 10):
            shown = time.monotonic()
            start = "\r\x1b[K" if living else ""
            typer.echo(start + line(progress), err=True, nl=last or not living)

    yield report


def line(progress: Progress) -> str:
    """Say how far a step is: items, bytes, rate and time left."""
    eta = "" if progress.eta_s is None else f", {timedelta(seconds=round(progress.eta_s))} left"
    return (
        f"{progress.step}: {progress.done:,} of {progress.total:,}, "
        f"{progress.bytes_done / 1e9:,.2f} of {progress.bytes_total / 1e9:,.2f} GB, "
        f"{progress.bytes_per_s / 1e6:,.0f} MB/s{eta}"
    )
