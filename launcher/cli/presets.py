"""`launcher presets`: the table of hyperparameters, with who ran them and how that went."""

import json
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from launcher.core.presets import Preset


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("presets")(presets)


def presets(
    task: str | None = typer.Option(None, "--task", help="resnet or bert; default: both."),
    as_json: bool = typer.Option(False, "--json", help="Print every value as JSON."),
) -> None:
    """List the presets: node, batch size, who ran it, convergence against the reference, odds."""
    from launcher.core.benchmark import Benchmark
    from launcher.core.presets import TABLE
    from launcher.errors import ConfigError

    names = [benchmark.value for benchmark in Benchmark]
    if task is not None and task not in names:
        raise ConfigError(f"--task is {task!r}; allowed: {', '.join(names)}.")
    rows = [row for row in TABLE if task in (None, row.benchmark.value)]
    if as_json:
        typer.echo(json.dumps([_json(row) for row in rows], indent=2))
        return
    typer.echo(
        f"{'preset':<15}{'purpose':<8}{'node':<15}{'batch':>6}"
        f"{'converges at':>14}{'reference':>12}{'failed':>11}  source"
    )
    for row in rows:
        typer.echo(_line(row))


def _line(row: "Preset") -> str:
    from launcher.core import rcp

    batch = row.hyperparameters["global_batch_size"]
    reference = rcp.reference(row.benchmark, batch).mean or 0
    digits = 1 if reference < 1000 else 0  # noqa: PLR2004 - epochs or samples
    failed = "" if row.failure_odds is None else f"{row.failed} of {row.runs}"
    node = f"{row.accelerators}x {row.memory_gib:g} GiB"
    return (
        f"{row.name:<15}{row.purpose.value:<8}{node:<15}{batch:>6}"
        f"{row.progress or 0:>14,.{digits}f}{reference:>12,.{digits}f}{failed:>11}  {row.source}"
    )


def _json(row: "Preset") -> dict[str, Any]:
    from launcher.core import rcp

    batch = row.hyperparameters["global_batch_size"]
    return {
        "name": row.name,
        "benchmark": row.benchmark.value,
        "purpose": row.purpose.value,
        "accelerators": row.accelerators,
        "memory_gib": row.memory_gib,
        "hyperparameters": dict(row.hyperparameters),
        "training": dict(row.training),
        "source": row.source,
        "converges_at": row.progress,
        "reference": rcp.reference(row.benchmark, batch).mean,
        "runs": row.runs,
        "failed": row.failed,
    }
