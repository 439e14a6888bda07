"""`launcher demo`: the whole road once, small: run, check, score and report of both benchmarks."""

import sys
import time
from pathlib import Path

import typer

from launcher.core.benchmark import Benchmark


def register(app: typer.Typer) -> None:
    """Add `demo`."""
    app.command()(demo)


def demo(
    folder: Path = typer.Option(Path("demo"), "--folder", help="Gets one numbered folder a demo."),
    *,
    engine: str = typer.Option("process", "--engine", help="process or docker."),
) -> None:
    """Rehearse both benchmarks (5 + 10 real training runs), score them, write the report.

    An interrupted demo continues; after a complete one the next begins.
    """
    begun = time.monotonic()
    results = _folder(folder)
    for benchmark in Benchmark:
        typer.secho(f"\n{benchmark.facts.title}, a rehearsal", bold=True)
        arguments = ["run", "--task", benchmark.value, "--rehearsal", "--engine", engine]
        _step([*arguments, "--results", str(results)])
    typer.secho("\nWhat the logs say", bold=True)
    report = results / "report.html"
    _step(["score", str(results)])
    _step(["report", str(results), "-o", str(report)])
    minutes, seconds = divmod(round(time.monotonic() - begun), 60)
    runs = sum(benchmark.facts.required_runs for benchmark in Benchmark)
    typer.secho(
        f"\n{runs} runs, scored and reported in {minutes} min {seconds} s: open {report}", bold=True
    )
    typer.echo(f"Look closer: {_python()} -m launcher check {results}")


def _python() -> str:
    """Name the Python that has our packages as one would type it here: `make` activates none."""
    python = Path(sys.executable)
    return str(python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python)


def _folder(folder: Path) -> Path:
    """Return the newest demo if it is not finished, else a new one."""
    numbers = [int(path.name) for path in folder.glob("*") if path.name.isdecimal()]
    newest = folder / str(max(numbers, default=0))
    if numbers and not (newest / "report.html").exists():
        return newest
    return folder / str(max(numbers, default=0) + 1)


def _step(arguments: list[str]) -> None:
    """Run a command of the launcher; what ends it badly ends the demo."""
    if code := _launcher(arguments):
        raise typer.Exit(code)


def _launcher(arguments: list[str]) -> int:
    from launcher import cli

    return cli.run(arguments)
