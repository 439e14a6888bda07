"""A request to the container that all its runs share, and the engine that will start it.

compose.yaml says what a container looks like; this module fills it in and chooses where it runs.
"""

import dataclasses
import os
import secrets
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from launcher import patchqueue, paths, tensorflow
from launcher.core.plan import Plan
from launcher.core.system import System
from launcher.engine import compose
from launcher.engine.base import LABEL, ContainerSpec, Engine, Mount
from launcher.engine.process import ProcessEngine
from launcher.errors import ConfigError, EngineError
from launcher.request import Request
from launcher.runner import SEED

TREE = "/workspace/training"
NOTE = 300  # characters of an error that a note quotes


def engine_of(plan: Plan) -> Engine:
    """Return the engine a frozen plan was made for."""
    return ProcessEngine() if plan.engine == ProcessEngine.name else _docker()


def _docker() -> Engine:
    from launcher.engine.docker import DockerEngine  # noqa: PLC0415 - rehearsals need no SDK

    return DockerEngine()


def with_tree(spec: ContainerSpec, request: Request) -> tuple[ContainerSpec, str]:
    """Return a spec that needs no image: the source tree is mounted; and the tree's id."""
    environment = dict(spec.environment)
    if request.implementation == "pytorch":
        tree = paths.BUILD / "overlay" / request.benchmark.value
        identity = patchqueue.materialise_overlay(request.benchmark, tree)
    else:
        tree = paths.BUILD / "reference" / request.benchmark.value
        python = tensorflow.python(request.tensorflow_python)
        identity = patchqueue.materialise(request.benchmark, tree, place=request.reference)
        environment["PATH"] = f"{python.parent}:{os.defpath}"
    code = Mount(source=tree, target=TREE, read_only=True)
    return dataclasses.replace(
        spec, mounts=(*spec.mounts, code), image="", environment=environment
    ), identity


def spec(
    request: Request, system: System, data: Path, checkpoint: Path | None, folder: Path
) -> ContainerSpec:
    """Return the container that all runs share; seed, results and name differ by run."""
    service = request.benchmark.value
    if request.implementation != "pytorch":
        service += f"-{request.implementation}"
    place = folder.resolve()
    _refuse_unspelt(place, data, checkpoint)
    variables = {
        "GP2BM_SEED": SEED,
        "GP2BM_DATA": str(data),
        "GP2BM_RESULTS": str(place),
        "GP2BM_HYPERPARAMETERS": str(place / "hyperparameters.yaml"),
        "GP2BM_USER": f"{os.getuid()}:{os.getgid()}",
        **({"GP2BM_CHECKPOINT": str(checkpoint)} if checkpoint else {}),
        **({"GP2BM_IMAGE": request.image} if request.image else {}),
    }
    spec = compose.load(paths.COMPOSE, service, variables)
    if checkpoint is None:
        spec = _without(spec, "/checkpoint")
    if not system.accelerators.count:
        spec = _for_cpu(spec)
    identity = secrets.token_hex(4)
    kind = "rehearsal-" if request.rehearsal else ""
    return dataclasses.replace(
        spec,
        name=f"gp2bm-{kind}{request.benchmark.value}-{identity}",
        labels={**spec.labels, LABEL: identity},
    )


def _refuse_unspelt(*used: Path | None) -> None:
    for path in used:
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise ConfigError(
                f"{str(path)!r} is not UTF-8 and cannot be written down in a plan; rename it, or, "
                "if the name is fine, set a locale that spells it, such as LC_ALL=C.UTF-8."
            ) from None


def _without(spec: ContainerSpec, target: str) -> ContainerSpec:
    """Drop a mount and the option that names it."""
    command = list(spec.command)
    if target in command:
        place = command.index(target)
        del command[place - 1 : place + 1]
    mounts = tuple(mount for mount in spec.mounts if mount.target != target)
    return dataclasses.replace(spec, command=tuple(command), mounts=mounts)


def _for_cpu(spec: ContainerSpec) -> ContainerSpec:
    """Ask for no GPUs, nor for limits that only GPUs need and a confined engine may not raise."""
    kept = {name: spec.ulimits[name] for name in ("stack",) if name in spec.ulimits}
    return dataclasses.replace(spec, all_gpus=False, ulimits=kept)


def choose(
    request: Request, spec: ContainerSpec, say: Callable[[str], None]
) -> tuple[Engine, Mapping[str, Any] | None, bool]:
    """Return the engine, the image (None for the process engine) and whether it is stale."""
    if request.engine == ProcessEngine.name:
        if not request.rehearsal:
            raise ConfigError("--engine process is for rehearsals; a real run needs containers.")
        return ProcessEngine(), None, False
    try:
        engine = _docker()
        image, stale = _image(request, spec)
    except EngineError as error:
        if request.engine is not None or not request.rehearsal:
            raise
        reason = textwrap.shorten(str(error), NOTE, placeholder=" ...")
        say(f"engine: process, without containers, because {reason}")
        return ProcessEngine(), None, False
    if request.engine is None:
        say(f"engine: docker, image {spec.image}.")
    return engine, image, stale


def _image(request: Request, spec: ContainerSpec) -> tuple[Mapping[str, Any], bool]:
    from launcher import images  # noqa: PLC0415 - rehearsals without containers need no SDK

    image, differences = images.check(
        spec.image,
        request.benchmark,
        request.implementation,
        rehearsal=request.rehearsal,
        allow_stale=request.allow_stale_image,
    )
    return image.facts(), bool(differences)
