"""Commands for sites without internet: bundle create, bundle verify."""

from pathlib import Path

import typer


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    bundles = typer.Typer(no_args_is_help=True, help="Carry everything to an air-gapped node.")
    bundles.command("create")(create)
    bundles.command("verify")(verify)
    app.add_typer(bundles, name="bundle")


def create(
    to: Path = typer.Option(..., "--to", help="Folder to make."),
    reference: str | None = typer.Option(
        None, "--reference", help="URL, clone or archive of mlcommons/training."
    ),
    wheelhouse: Path | None = typer.Option(
        None, "--wheelhouse", help="Folder of wheels; else pip collects every locked package."
    ),
    base_image: str | None = typer.Option(
        None, "--base-image", help="Image to carry along, as docker save writes it."
    ),
    tensorflow: bool = typer.Option(
        False,
        "--tensorflow",
        help="Collect the wheels of the patched reference's image, too (Python 3.9 to 3.11).",
    ),
) -> None:
    """Collect the reference, the wheels, this launcher and the base image in one folder."""
    from launcher import bundle

    made = bundle.create(
        to,
        place=reference,
        wheelhouse=wheelhouse,
        base_image=base_image,
        tensorflow=tensorflow,
        on_progress=typer.echo,
    )
    typer.echo(f"{made.folder}: complete and verified")


def verify(folder: Path = typer.Argument(help="The bundle.")) -> None:
    """Compare every file of a bundle with its manifest."""
    from launcher import bundle

    bundle.verify(folder)
    typer.echo(f"{folder}: every file is as the manifest says")
