"""A build context to a labelled image, and an image to the facts that a plan keeps.

It builds with the engine's classic builder, which every engine has. It never hands out an image
whose source is not this checkout's, unless it is told to.
"""

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker  # noqa: TID251 - images are built here
import requests
from docker.errors import APIError, DockerException, ImageNotFound  # noqa: TID251

from launcher import imagecontext, imagelabels, inside, paths
from launcher.core.benchmark import Benchmark
from launcher.errors import EngineError
from launcher.imagecontext import Context

DEFAULT_BASES = {
    # The last tag proven with apex, flash-attn 2, DALI and TransformerEngine on both benchmarks.
    "pytorch": "nvcr.io/nvidia/pytorch:25.04-py3",
    # TensorFlow 2.15.1, the last with Estimator, needs Python 3.9 to 3.11; CUDA comes as wheels.
    "reference": "docker.io/library/python:3.11-bookworm",
}
IMPLEMENTATIONS = tuple(DEFAULT_BASES)
OnProgress = Callable[[str], None]
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # the builder paints what steps write to stderr
_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Which image to build, from what."""

    benchmark: Benchmark
    implementation: str = "pytorch"
    base_image: str | None = None
    accelerator: str | None = None  # "cpu" or "gpu"; what this host has when None
    reference: str | None = None
    overlay_only: bool = False
    wheelhouse: Path | None = None
    ca_bundle: Path | None = None
    network: str | None = None  # "none" denies it to every step
    tag: str | None = None

    @property
    def base(self) -> str:
        """Return the base image."""
        return self.base_image or DEFAULT_BASES[self.implementation]

    @property
    def name(self) -> str:
        """Return the name of the image."""
        return self.tag or default_name(self.benchmark, self.implementation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image that an engine holds."""

    name: str
    id: str
    digests: tuple[str, ...]  # in registries; none before it was pushed
    labels: Mapping[str, str]

    def facts(self) -> dict[str, Any]:
        """Return what a plan keeps of it."""
        digest = self.digests[0] if self.digests else None
        return {"name": self.name, "id": self.id, "digest": digest, "labels": dict(self.labels)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """An image and whether it had to be made."""

    image: Image
    fresh: bool


def default_name(benchmark: Benchmark, implementation: str = "pytorch") -> str:
    """Return the name that `images build` gives and `run` looks for."""
    suffix = "" if implementation == "pytorch" else f"-{implementation}"
    return f"gp2bm/{benchmark.value}{suffix}:latest"


def context(request: Request) -> Context:
    """Fill the build context of a request."""
    return imagecontext.fill(
        request.benchmark,
        place=request.reference,
        overlay_only=request.overlay_only,
        wheelhouse=request.wheelhouse,
        ca_bundle=request.ca_bundle,
    )


def build(request: Request, on_progress: OnProgress) -> Built:
    """Build and label an image; one that holds the same already is left alone.

    Raises ConfigError for a bad source, EngineError with the failing step's own words.
    """
    with _engine() as client:
        base = _base(client, request, on_progress)
        filled = context(request)
        arguments = {
            "BASE_IMAGE": request.base,
            "IMPLEMENTATION": request.implementation,
            "ACCELERATOR": request.accelerator or host_accelerator(),
        }
        inputs = imagecontext.digest(filled, base=base.id, **arguments)
        present = _find(client, request.name)
        if present is not None and present.labels.get(imagelabels.INPUTS) == inputs:
            return Built(image=present, fresh=False)
        unlabelled = _build_stage(client, request, filled, arguments, on_progress)
        labels = imagelabels.of_source(request.benchmark, request.implementation, filled.source)
        labels |= {
            imagelabels.BASE_IMAGE: request.base,
            imagelabels.BASE_DIGEST: (base.digests or (base.id,))[0],
            imagelabels.VERSIONS: _probe(client, unlabelled),
            imagelabels.INPUTS: inputs,
        }
        _label(client, unlabelled, request.name, labels)
        return Built(image=_inspect(client, request.name), fresh=True)


def check(
    name: str,
    benchmark: Benchmark,
    implementation: str = "pytorch",
    *,
    rehearsal: bool,
    allow_stale: bool = False,
) -> tuple[Image, tuple[str, ...]]:
    """Return an image and how it differs from this checkout: not at all, unless that is allowed.

    Raises EngineError naming every difference, patch by patch, or that there is no such image.
    """
    with _engine() as client:
        image = _inspect(client, name)
    found = imagelabels.differences(image.labels, benchmark, implementation, rehearsal=rehearsal)
    if found and not allow_stale:
        raise EngineError(
            f"image {name} is not of this checkout: {'; '.join(found)}; run launcher images build "
            f"--task {benchmark.value}, or say --allow-stale-image to mark the run set."
        )
    return image, tuple(found)


def host_accelerator() -> str:
    """Say whether this host has NVIDIA's driver: "gpu" or "cpu"."""
    return "gpu" if _NVIDIA_DRIVER.exists() else "cpu"


def save(name: str, path: Path) -> str:
    """Write an image as `docker save` does and return its id."""
    with _engine() as client, path.open("wb") as stream:
        for chunk in client.images.get(name).save(named=True):
            stream.write(chunk)
        return _inspect(client, name).id


def image_id(name: str) -> str | None:
    """Return an image's id, or None where the engine does not hold it."""
    with _engine() as client:
        image = _find(client, name)
    return image.id if image else None


def load(path: Path) -> None:
    """Load what `save` wrote."""
    with _engine() as client, path.open("rb") as stream:
        client.images.load(stream)


@contextmanager
def _engine() -> Iterator[docker.DockerClient]:
    """Give a client, and translate what the engine and the road to it can raise."""
    try:
        client = docker.from_env(timeout=600)
    except DockerException as error:
        raise EngineError(f"no Docker engine answers ({error}); start one.") from error
    try:
        yield client
    except ImageNotFound as error:
        raise EngineError(f"{error.explanation}; build it with launcher images build.") from error
    except APIError as error:
        raise EngineError(f"the engine refused: {error.explanation or error}.") from error
    except DockerException as error:
        raise EngineError(f"the engine failed: {error}.") from error
    except requests.RequestException as error:
        raise EngineError(f"the engine stopped answering ({error}); look at its log.") from error
    finally:
        client.close()


def _find(client: docker.DockerClient, name: str) -> Image | None:
    try:
        found = client.images.get(name)
    except ImageNotFound:
        return None
    digests = tuple(found.attrs.get("RepoDigests") or ())
    return Image(name=name, id=str(found.id), digests=digests, labels=dict(found.labels))


def _inspect(client: docker.DockerClient, name: str) -> Image:
    if (image := _find(client, name)) is None:
        raise EngineError(f"there is no image {name}; build it with launcher images build.")
    return image


def _base(client: docker.DockerClient, request: Request, on_progress: OnProgress) -> Image:
    if (image := _find(client, request.base)) is not None:
        return image
    on_progress(f"pulling {request.base}")
    try:
        _follow(client.api.pull(request.base, stream=True, decode=True), on_progress)
    except (APIError, EngineError) as error:
        raise EngineError(
            f"base image {request.base} is not here and cannot be pulled ({error}); "
            "docker load it, or name another with --base-image."
        ) from error
    return _inspect(client, request.base)


def _build_stage(
    client: docker.DockerClient,
    request: Request,
    filled: Context,
    arguments: Mapping[str, str],
    on_progress: OnProgress,
) -> str:
    """Build up to the implementation's stage and return the id of what came out."""
    with tempfile.TemporaryFile(dir=paths.BUILD) as packed:
        imagecontext.pack(filled, packed)
        packed.seek(0)
        stream = client.api.build(
            fileobj=packed,
            custom_context=True,
            dockerfile=filled.recipe.name,
            target=request.implementation,
            buildargs=dict(arguments),
            network_mode=request.network,
            use_config_proxy=True,
            forcerm=True,
            rm=True,
            decode=True,
        )
        return _follow(stream, on_progress)


def _probe(client: docker.DockerClient, image: str) -> str:
    """Ask an image for the versions of what it holds, as JSON."""
    said = client.containers.run(
        image,
        entrypoint=[f"{inside.ENVIRONMENT}/bin/python"],
        command=[f"{inside.ENVIRONMENT}/inside.py", "versions"],
        network_mode="none",
        remove=True,
        stderr=False,
    )
    return json.dumps(json.loads(said.splitlines()[-1]), sort_keys=True)


def _label(client: docker.DockerClient, image: str, name: str, labels: Mapping[str, str]) -> None:
    one_step = imagecontext.single(f"FROM {image}\n")
    stream = client.api.build(
        fileobj=one_step, custom_context=True, labels=dict(labels), tag=name, rm=True, decode=True
    )
    _follow(stream, lambda _: None)


def _follow(stream: Iterator[Mapping[str, Any]], on_progress: OnProgress) -> str:
    """Pass on what a pull or build says; return the id of the image it made, if any."""
    made = ""
    for said in stream:
        if "error" in said:
            raise EngineError(f"{str(said['error']).strip()}; the step's own output is above.")
        made = said.get("aux", {}).get("ID", made)
        text = said.get("stream") or " ".join(
            str(said[key]) for key in ("id", "status", "progress") if key in said
        )
        for line in _COLOURS.sub("", text).splitlines():
            if line.strip():
                on_progress(line.rstrip())
    return made
