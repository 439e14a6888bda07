"""What a user asks for to a plan that can be started: everything is loaded and checked here.

Whatever can be found wrong in seconds is found before the first container starts, and said in one
sentence. It freezes nothing: the caller writes the plan.
"""

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher import (
    __version__,
    containers,
    dataset,
    detect,
    host,
    patchqueue,
    paths,
    reference,
    rehearsal,
    render,
    systems,
    tfrecords,
)
from launcher.core.benchmark import Benchmark
from launcher.core.plan import Plan
from launcher.core.presets import Purpose
from launcher.core.settings import Settings
from launcher.core.system import Choice, System
from launcher.engine import base
from launcher.engine.base import ContainerSpec, Engine
from launcher.errors import ConfigError, HostError
from launcher.request import Request
from launcher.store import now

MOST_RUNS = 1000  # weeks of training
SEED_BITS = 31  # fits every framework's seed, and a signed 32-bit integer


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A plan that passed every check, with what it was made from."""

    plan: Plan
    hyperparameters: str  # text of hyperparameters.yaml
    settings: Settings
    engine: Engine
    notes: tuple[str, ...]  # choices made for the user, and warnings


def run_set(results: Path, system: str, benchmark: Benchmark, *, rehearsal: bool) -> Path:
    """Return the folder of a run set."""
    return results / f"{'REHEARSAL-' if rehearsal else ''}{system}" / benchmark.value


def check_seeds(request: Request) -> None:
    """Raise ConfigError when so many runs cannot give what was asked for."""
    least = 1 if request.rehearsal else request.benchmark.facts.required_runs
    if request.seeds < least:
        kind = "a rehearsal" if request.rehearsal else f"a result of {request.benchmark.value}"
        hint = "" if request.rehearsal else ", or add --rehearsal"
        raise ConfigError(
            f"--seeds is {request.seeds}; {kind} needs at least {least}: ask for {least} or more"
            f"{hint}."
        )
    if request.seeds > MOST_RUNS:
        raise ConfigError(f"--seeds is {request.seeds}; ask for {MOST_RUNS} or fewer.")


def choose_system(request: Request) -> tuple[Path, System, str]:
    """Return the system file, what it says, and how it was chosen.

    Without --system: a rehearsal's own, else the one file in systems/, else this host is described.
    """
    if request.system is not None:
        return request.system, systems.load(request.system), ""
    if request.rehearsal:
        path = paths.SYSTEMS / "rehearsal.yaml"
        return path, systems.load(path), ""
    if (own := systems.default()) is not None:
        return own, systems.load(own), f"system: {own}, the only one in {paths.SYSTEMS}."
    if not host.gpus():
        raise HostError(
            "this machine has no NVIDIA GPU that nvidia-smi can see; start on the GPU node, or "
            "rehearse here with --rehearsal."
        )
    path = paths.SYSTEMS / f"{detect.name()}.yaml"
    system = systems.loads(detect.text().encode(), path)
    return path, system, "system: this host, as `launcher system detect` describes it."


def draft(request: Request, place: Path, system: System, folder: Path) -> Draft:
    """Check everything and return the plan for a new run set in `folder`."""
    _refuse_placeholders(place, system, request)
    settings = systems.settings(
        place, _with_preset(system, request), request.benchmark, rehearsal=request.rehearsal
    )
    notes = [f"warning: {warning}" for warning in settings.warnings]
    data, checkpoint = _data(request), _checkpoint(request)
    attested = _attested(request, data, notes)
    text = render.hyperparameters(
        request.benchmark,
        system,
        settings,
        rehearsal=request.rehearsal,
        implementation=request.implementation,
    )
    spec = containers.spec(request, system, data, checkpoint, folder)
    engine, image, stale = containers.choose(request, spec, notes.append)
    source: dict[str, Any] = {"pin": reference.load().commit}
    source["patches_sha256"] = patchqueue.digest(request.benchmark).sha256
    source["overlay_only"] = image is None and request.implementation == "pytorch"
    if image is None:
        spec, source["tree"] = containers.with_tree(spec, request)
    else:
        spec = dataclasses.replace(spec, image=str(image["id"]))  # a name may move, this cannot
    check(engine, spec, folder, system.accelerators.count)
    facts = host.facts()
    if describe := getattr(engine, "describe", None):
        facts["engine"] = describe()
    plan = Plan(
        benchmark=request.benchmark,
        implementation=request.implementation,
        rehearsal=request.rehearsal,
        created=now(),
        launcher_version=__version__,
        seeds=draw_seeds(request.seeds),
        seed_source="os.urandom",
        engine=engine.name,
        image=image,
        source=source,
        system={"name": system.name, **system.source},
        preset=settings.preset.name,
        hyperparameters=dict(settings.hyperparameters),
        hyperparameters_sha256=hashlib.sha256(text.encode()).hexdigest(),
        container=base.to_json(spec),
        host=facts,
        dataset=dict(attested),
        stale_image=stale,
    )
    return Draft(
        plan=plan, hyperparameters=text, settings=settings, engine=engine, notes=tuple(notes)
    )


def draw_seeds(count: int) -> tuple[int, ...]:
    """Draw distinct seeds from the operating system's entropy."""
    seeds: dict[int, None] = {}
    while len(seeds) < count:
        seeds[int.from_bytes(os.urandom(4)) >> (32 - SEED_BITS)] = None
    return tuple(seeds)


def check(engine: Engine, spec: ContainerSpec, folder: Path, accelerators: int) -> None:
    """Let the engine check the container; what the run set itself brings is there by then."""
    ours = folder.resolve()
    brought = tuple(mount for mount in spec.mounts if not mount.source.is_relative_to(ours))
    for mount in brought:
        if not mount.source.exists():
            raise ConfigError(f"{mount.source} (for {mount.target}) does not exist; name another.")
    engine.check(dataclasses.replace(spec, mounts=brought), accelerators=accelerators)


def _refuse_placeholders(place: Path, system: System, request: Request) -> None:
    if system.placeholders and not request.rehearsal:
        raise ConfigError(
            f"{place}: {system.placeholders[0]} was never filled in; write it there "
            "(`launcher system detect` makes such a file) and pass it with --system."
        )


def _with_preset(system: System, request: Request) -> System:
    """Let --preset take the place of the system file's choice."""
    if request.preset is None:
        return system
    if request.rehearsal and request.preset != Purpose.REHEARSAL.value:
        raise ConfigError(f"--preset is {request.preset!r}; a rehearsal has its own, drop one.")
    old = system.choices.get(request.benchmark)
    values = old.hyperparameters if old else {}
    training = old.training if old else {}
    chosen = Choice(preset=request.preset, hyperparameters=values, training=training)
    return dataclasses.replace(system, choices={**system.choices, request.benchmark: chosen})


def _data(request: Request) -> Path:
    if request.data is not None:
        if not request.data.is_dir():
            raise ConfigError(f"--data: {request.data} is not a directory; name the prepared data.")
        return request.data.resolve()
    if request.rehearsal:
        return rehearsal.prepare(
            request.benchmark, paths.BUILD / "rehearsal" / request.benchmark.value
        )
    raise ConfigError(
        "--data is missing; name the directory that `launcher prepare --task "
        f"{request.benchmark.value}` made."
    )


def _attested(request: Request, data: Path, notes: list[str]) -> Mapping[str, Any]:
    if request.implementation == "pytorch" or request.rehearsal:
        return dataset.attest(data, request.benchmark, rehearsal=request.rehearsal)
    notes.append(f"warning: {data}: TFRecord files are counted, not verified; the plan says so.")
    return tfrecords.describe(data, request.benchmark)


def _checkpoint(request: Request) -> Path | None:
    if request.benchmark is not Benchmark.BERT:
        if request.checkpoint is not None:
            raise ConfigError("--checkpoint is for bert only; resnet starts from its own seed.")
        return None
    if request.checkpoint is not None and not request.checkpoint.exists():
        raise ConfigError(f"--checkpoint: {request.checkpoint} does not exist; name its directory.")
    if request.checkpoint is not None or request.rehearsal:
        return request.checkpoint and request.checkpoint.resolve()
    beside = request.data / "checkpoint" if request.data else None
    if beside is not None and beside.is_dir():
        return beside.resolve()
    raise ConfigError(
        "--checkpoint is missing; name the directory of BERT's initial checkpoint "
        "(model.safetensors)."
    )
