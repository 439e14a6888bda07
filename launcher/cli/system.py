"""`system detect` describes this machine, `system check` reads a system file."""

import json
from pathlib import Path
from typing import Any

import typer


def register(app: typer.Typer) -> None:
    """Add the group `system`."""
    group = typer.Typer(no_args_is_help=True, help="Describe a node, or check its description.")
    group.command()(detect)
    group.command()(check)
    app.add_typer(group, name="system")


def detect(
    output: Path | None = typer.Option(
        None, "--output", "-o", help="File to write; default: print. Never overwrites."
    ),
) -> None:
    """Write a system file for this machine; what only its owner knows is marked."""
    from launcher import detect
    from launcher.errors import ConfigError

    text = detect.text()
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigError(f"{output}: cannot be written: {error.strerror}.") from error
    left = text.count(f"  {detect.MARK}")
    typer.echo(
        f"{output}: {left} lines say {detect.MARK!r}; see to them, then run "
        f"launcher system check {output}"
    )


def check(
    file: Path = typer.Argument(..., help="A system file, such as systems/mynode.yaml."),
    *,
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Read a system file, resolve its presets and say what is missing."""
    from launcher import render, systems
    from launcher.core.benchmark import Benchmark

    system = systems.load(file)
    empty = [key for key, value in system.description.items() if not value]
    resolved: dict[str, dict[str, Any]] = {}
    told = {
        "name": system.name,
        "placeholders": list(system.placeholders),
        "empty": empty,
        "description": system.mlperf_description(),
        "benchmarks": resolved,
    }
    for benchmark in Benchmark:
        rehearsal = system.accelerators.count == 0
        settings = systems.settings(file, system, benchmark, rehearsal=rehearsal)
        render.hyperparameters(benchmark, system, settings, rehearsal=rehearsal)  # names typos
        resolved[benchmark.value] = {
            "preset": settings.preset.name,
            "hyperparameters": dict(settings.hyperparameters),
            "warnings": list(settings.warnings),
        }
    if as_json:
        typer.echo(json.dumps(told, indent=2))
    else:
        for title, values in resolved.items():
            typer.echo(f"{title}: preset {values['preset']}")
            for warning in values["warnings"]:
                typer.echo(f"  warning: {warning}")
        typer.echo(f"not filled in: {', '.join(empty) or 'nothing'}")
        for key in system.placeholders:
            typer.echo(f"error: {key} is a placeholder; a real run refuses it.")
    if system.placeholders:
        raise typer.Exit(1)
