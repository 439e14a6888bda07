"""Commands around the source tree and the images: tree, patches, check-patches, images."""

import enum
import json
from pathlib import Path

import typer

from launcher import paths
from launcher.core.benchmark import Benchmark


class Implementation(enum.Enum):
    """Whose training program an image runs."""

    PYTORCH = "pytorch"
    REFERENCE = "reference"


class Accelerator(enum.Enum):
    """What the reference's TensorFlow is built for."""

    CPU = "cpu"
    GPU = "gpu"


IMPLEMENTATION = typer.Option(
    Implementation.PYTORCH, "--implementation", help="Our program, or the patched reference."
)
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
    images = typer.Typer(no_args_is_help=True, help="Build the images and check them.")
    images.command("build")(build)
    images.command("check")(check)
    app.add_typer(images, name="images")


def build(
    *,
    task: Benchmark | None = TASK,
    implementation: Implementation = IMPLEMENTATION,
    base_image: str | None = typer.Option(
        None, "--base-image", help="Base; NGC PyTorch 25.04 (pytorch), Python 3.11 (reference)."
    ),
    reference: str | None = REFERENCE,
    wheelhouse: Path | None = typer.Option(
        None, "--wheelhouse", help="Folder of wheels; pip then uses nothing else."
    ),
    ca_bundle: Path | None = typer.Option(
        None, "--ca-bundle", help="PEM file that pip trusts during the build."
    ),
    bundle: Path | None = typer.Option(
        None, "--bundle", help="Folder of bundle create: everything from there, no network."
    ),
    overlay_only: bool = typer.Option(
        False, "--overlay-only", help="Leave the reference out; marked, for rehearsals alone."
    ),
    accelerator: Accelerator | None = typer.Option(
        None, "--accelerator", help="cpu or gpu build of TensorFlow; what this host has by default."
    ),
    network: str | None = typer.Option(
        None, "--network", help="Network of the build's steps; none denies it."
    ),
    tag: str | None = typer.Option(None, "--tag", help="Name of the image, for one task."),
    context_only: bool = typer.Option(
        False, "--context-only", help="Fill build/image/<task> and stop."
    ),
) -> None:
    """Build and label the images; what holds the same already is left alone."""
    from launcher import images

    if bundle is not None:
        base_image, reference, wheelhouse = _from_bundle(bundle, base_image)
        network = "none"
    for benchmark in _chosen(task):
        request = images.Request(
            benchmark=benchmark,
            implementation=implementation.value,
            base_image=base_image,
            accelerator=accelerator.value if accelerator else None,
            reference=reference,
            overlay_only=overlay_only,
            wheelhouse=wheelhouse,
            ca_bundle=ca_bundle,
            network=network,
            tag=tag,
        )
        if context_only:
            typer.echo(images.context(request).folder)
            continue
        built = images.build(request, typer.echo)
        state = "built" if built.fresh else "up to date"
        typer.echo(f"{built.image.name} {built.image.id}: {state}")


def _from_bundle(folder: Path, base_image: str | None) -> tuple[str | None, str, Path]:
    """Return base image, reference and wheelhouse of a bundle, verified and loaded."""
    from launcher import bundle

    opened = bundle.verify(folder)
    bundle.load_base(opened)
    return base_image or opened.base_image, str(opened.reference), opened.wheels


def check(
    task: Benchmark | None = TASK,
    implementation: Implementation = IMPLEMENTATION,
    rehearsal: bool = typer.Option(
        False, "--rehearsal", help="Accept an image without the reference."
    ),
    tag: str | None = typer.Option(None, "--tag", help="Name of the image, for one task."),
    as_json: bool = typer.Option(False, "--json", help="Print the images' facts as JSON."),
) -> None:
    """Refuse images whose source is not this checkout's, patch by patch."""
    from launcher import images

    facts = {}
    for benchmark in _chosen(task):
        name = tag or images.default_name(benchmark, implementation.value)
        image, _ = images.check(name, benchmark, implementation.value, rehearsal=rehearsal)
        facts[benchmark.value] = image.facts()
        if not as_json:
            typer.echo(f"{image.name} {image.id}: is of this checkout")
    if as_json:
        typer.echo(json.dumps(facts, indent=2))


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
