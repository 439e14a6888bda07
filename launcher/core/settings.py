"""A system, a benchmark and a preset to the values of its runs, with everything odd about them.

It refuses what cannot run or what the closed division forbids, and warns of what was never proven.
It renders nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from launcher.core import keys, presets, rcp, rules, scaling
from launcher.core.benchmark import Benchmark
from launcher.core.presets import Preset, Purpose
from launcher.core.system import System, nearest

COUNTS = ("global_batch_size", "gradient_accumulation_steps")
HORIZON = (2.36e6, 2.9e6)  # steps x batch of BERT runs that converged like the reference, samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What every run of a run set shares."""

    preset: Preset
    hyperparameters: Mapping[str, Any]  # keyed by MLLOG names
    training: Mapping[str, Any]  # of the preset and the system file; the template adds the rest
    changed: tuple[str, ...]  # hyperparameters that the system file sets itself
    warnings: tuple[str, ...]


def resolve(system: System, benchmark: Benchmark, *, rehearsal: bool = False) -> Settings:
    """Return the values for one benchmark on one system.

    Raises ValueError naming the key of the system file, its value and what is allowed.
    """
    choice = system.choices.get(benchmark)
    if rehearsal and (choice is None or choice.preset != Purpose.REHEARSAL.value):
        choice = None
    preset = _preset(system, benchmark, choice.preset if choice else None, rehearsal=rehearsal)
    where = f"benchmarks.{benchmark.value}.hyperparameters."
    own = _own(benchmark, choice.hyperparameters if choice else {}, where)
    if own.keys() & set(COUNTS):
        wanted = {key: own.get(key, preset.hyperparameters[key]) for key in COUNTS}
        _refuse_unshared(benchmark, wanted, system.accelerators.count, where)
        preset = scaling.scale(
            preset,
            batch=wanted["global_batch_size"],
            accelerators=system.accelerators.count,
            accumulation=wanted["gradient_accumulation_steps"],
        )
    values = {**_kept(preset.hyperparameters, own), **own}
    _refuse_unshared(benchmark, values, system.accelerators.count, where)
    if not rehearsal and system.division == "closed":
        _refuse_forbidden(benchmark, values, where)
    return Settings(
        preset=preset,
        hyperparameters=values,
        training={**preset.training, **(choice.training if choice else {})},
        changed=tuple(sorted(own)),
        warnings=preset.warnings + (() if rehearsal else _warnings(benchmark, values)),
    )


def _preset(system: System, benchmark: Benchmark, name: str | None, *, rehearsal: bool) -> Preset:
    where = f"benchmarks.{benchmark.value}.preset"
    if rehearsal:
        return presets.REHEARSALS[benchmark]
    if name == Purpose.REHEARSAL.value:
        raise ValueError(f"{where} is 'rehearsal', which is no result; run it with --rehearsal")
    count, memory_gib = system.accelerators.count, system.accelerators.memory_gib
    if count == 0:
        raise ValueError("accelerators.count is 0; a real run needs at least 1, or --rehearsal")
    if name in (None, Purpose.RECORD.value, Purpose.SAFE.value):
        purpose = Purpose(name or Purpose.RECORD.value)
        return scaling.choose(benchmark, accelerators=count, memory_gib=memory_gib, purpose=purpose)
    names = {row.name: row for row in presets.TABLE if row.benchmark is benchmark}
    if name not in names:
        hint = nearest(str(name), ["record", "safe", *names])
        raise ValueError(f"{where} is {name!r}, which is not a preset; {hint}")
    row = names[name]
    if row.accelerators == count:
        return row
    old = row.hyperparameters
    return scaling.scale(
        row,
        batch=old["global_batch_size"],
        accelerators=count,
        accumulation=old["gradient_accumulation_steps"],
    )


def _own(benchmark: Benchmark, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check the names and kinds of what a system file sets itself."""
    known = (*keys.HYPERPARAMETERS[benchmark], "train_samples", "eval_samples")
    for key, value in values.items():
        if key not in known:
            raise ValueError(f"{where}{key} is not a known key; {nearest(str(key), known)}")
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if key != "opt_name" and not (number and abs(value) <= rules.LARGEST):
            raise ValueError(f"{where}{key} is {value!r}; allowed: a number")
        if key in COUNTS and (value < 1 or value != int(value)):
            raise ValueError(f"{where}{key} is {value!r}; allowed: a whole number from 1")
    return {key: int(value) if key in COUNTS else value for key, value in values.items()}


def _kept(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Drop LARS's values where the file asks for SGD; it then has to give SGD's."""
    sgd = own.get("opt_name") == "sgd"
    return {key: value for key, value in base.items() if not (sgd and key.startswith("lars_"))}


def _refuse_unshared(
    benchmark: Benchmark, values: Mapping[str, Any], accelerators: int, where: str
) -> None:
    if said := scaling.problem(benchmark, values, accelerators):
        raise ValueError(where + said)


def _refuse_forbidden(benchmark: Benchmark, values: Mapping[str, Any], where: str) -> None:
    for verdict in rules.verdicts(benchmark, values):
        if not verdict.ok:
            raise ValueError(
                f"{where}{verdict.key} is {verdict.value!r}; the closed division allows"
                f" {verdict.allowed} ({verdict.source})"
            )


def _warnings(benchmark: Benchmark, values: Mapping[str, Any]) -> tuple[str, ...]:
    said = []
    batch = values["global_batch_size"]
    reference = rcp.reference(benchmark, int(batch))
    if reference.mean is None:
        said.append(f"global_batch_size {batch} is {reference.position.value}.")
    if benchmark is Benchmark.BERT:
        horizon = values["opt_learning_rate_training_steps"] * batch
        if not HORIZON[0] <= horizon <= HORIZON[1]:
            effect = (
                "runs with more than 2.9 M needed 2 to 12 % more samples than the reference"
                if horizon > HORIZON[1]
                else "the rate reaches zero before any published run converged"
            )
            said.append(
                f"opt_learning_rate_training_steps x global_batch_size is {horizon / 1e6:.2f} M"
                f" samples: {effect}; {round(scaling.IDEAL_HORIZON / batch)} steps would be 2.7 M."
            )
    return tuple(said)
