"""`launcher checkpoint`: BERT's initial checkpoint in the form that a run reads."""

from pathlib import Path

import typer


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("checkpoint")(checkpoint)


def checkpoint(
    source: Path = typer.Argument(
        ...,
        help="The rules' checkpoint without its ending: .../model.ckpt-28252, TF1 or TF2.",
    ),
    destination: Path = typer.Argument(..., help="Folder that gets model.safetensors, 1.3 GB."),
) -> None:
    """Convert BERT's initial checkpoint bit by bit, without TensorFlow; nothing is left over."""
    from launcher.prepare import checkpoint as conversion

    typer.echo(conversion.convert(source, destination))
