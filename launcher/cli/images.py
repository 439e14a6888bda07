"""Commands around the source tree and the images: tree, patches, check-patches, images."""

from pathlib import Path

import typer

from launcher import paths
from launcher.core.benchmark import Benchmark

TASK = typer.Option(None, "--task", help="resnet or bert; both when not given.")
REFERENCE = typer.Option(
    None,
    "--reference",
    help="URL, clone, git archive or unpacked copy of mlcommons/training; "
    "the URL in patches/reference.toml when not given.",
)


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("tree")(tree)
    app.command("patches")(patches)
    app.command("check-patches")(check_patches)


def tree(
    task: Benchmark | None = TASK,
    reference: str | None = REFERENCE,
    to: Path = typer.Option(paths.BUILD, "--to", help="Folder that gets one tree per task."),
) -> None:
    """Make the full source tree as a git checkout: reference, our files, one commit per patch."""
    from launcher import patchqueue

    for benchmark in _chosen(task):
        made = to / benchmark.value
        tree_id = patchqueue.materialise(benchmark, made, place=reference)
        typer.echo(f"{made}: tree {tree_id}")


def patches(
    task: Benchmark | None = TASK,
    tree: Path | None = typer.Option(
        None, "--tree", help="The edited tree; build/<task> when not given."
    ),
) -> None:
    """Write an edited tree's commits back to patches/."""
    from launcher import patchexport

    for benchmark in _chosen(task):
        edited = tree or paths.BUILD / benchmark.value
        changed, exported = patchexport.export(benchmark, edited)
        for name in changed:
            typer.echo(f"wrote patches/{name}")
        typer.echo(f"{edited}: {len(exported.patches)} patches, {len(changed)} files changed")
        for name in patchexport.without_trailer(exported, benchmark):
            typer.echo(f"patches/{benchmark.value}/{name} has no Upstream: trailer", err=True)


def check_patches(task: Benchmark | None = TASK, reference: str | None = REFERENCE) -> None:
    """Apply every patch to the reference, export again, and compare byte for byte."""
    from launcher import patchexport

    failed = False
    for benchmark in _chosen(task):
        stale, exported = patchexport.check(benchmark, reference)
        bare = patchexport.without_trailer(exported, benchmark)
        for name in stale:
            typer.echo(f"patches/{name} does not come back byte for byte")
        for name in bare:
            typer.echo(f"patches/{benchmark.value}/{name} has no Upstream: trailer")
        failed = failed or bool(stale or bare)
        typer.echo(f"{benchmark.value}: {len(exported.patches)} patches, {len(stale)} stale")
    raise typer.Exit(int(failed))


def _chosen(task: Benchmark | None) -> tuple[Benchmark, ...]:
    return tuple(Benchmark) if task is None else (task,)
