"""The plan of a run set: everything that is decided before run 0 and never changes after.

Plan <-> JSON text. It is handed text; it never opens a file.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from launcher.core import strictjson
from launcher.core.benchmark import Benchmark

MARK = "REHEARSAL - NOT A RESULT"  # stands on everything that a rehearsal makes
SCHEMA = 1
RULESET = "4.0.0"  # of mlperf-logging: the last with both benchmarks
POLICY = "6e668456e5ba6f10f01544dd23901c7239ea07cb"  # of mlcommons/training_policies


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run set is going to do. Frozen on disk before the first container starts."""

    benchmark: Benchmark
    implementation: str  # "pytorch" or "reference"
    rehearsal: bool
    created: str  # ISO 8601, UTC
    launcher_version: str
    seeds: tuple[int, ...]  # one per run, drawn from OS entropy; len == planned runs (M)
    seed_source: str
    engine: str  # "docker" or "process"
    image: Mapping[str, Any] | None  # name, id, digest, labels; None for the process engine
    source: Mapping[str, Any]  # pin, tree id, patch digest, overlay_only
    system: Mapping[str, Any]  # the whole system file
    preset: str
    hyperparameters: Mapping[str, Any]  # keyed by MLLOG names
    hyperparameters_sha256: str  # of hyperparameters.yaml as rendered
    container: Mapping[str, Any]  # the ContainerSpec that every run starts from
    host: Mapping[str, Any]
    dataset: Mapping[str, Any] | None  # the attestation of `launcher data verify`
    stale_image: bool = False
    ruleset: str = RULESET
    policy: str = POLICY
    schema: int = SCHEMA

    @property
    def required_runs(self) -> int:
        """N: how many runs the rules ask for."""
        return self.benchmark.facts.required_runs


def dumps(plan: Plan) -> str:
    """Return the plan as canonical, readable JSON."""
    fields = {field.name: getattr(plan, field.name) for field in dataclasses.fields(plan)}
    fields["benchmark"] = plan.benchmark.value
    fields["seeds"] = list(plan.seeds)
    return json.dumps(fields, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def loads(text: str) -> Plan:
    """Read a plan back.

    Raises ValueError naming the key that is missing, unknown or of the wrong kind.
    """
    fields = strictjson.loads(text)
    if not isinstance(fields, dict):
        raise ValueError("a plan is a JSON object")  # noqa: TRY004 - one error type for bad text
    names = {field.name for field in dataclasses.fields(Plan)}
    if unknown := sorted(fields.keys() - names):
        raise ValueError(f"unknown key {unknown[0]!r}")
    if fields.get("schema") != SCHEMA:
        raise ValueError(f"schema is {fields.get('schema')!r}; this launcher reads {SCHEMA}")
    required = {
        field.name for field in dataclasses.fields(Plan) if field.default is dataclasses.MISSING
    }
    if missing := sorted(required - fields.keys()):
        raise ValueError(f"key {missing[0]!r} is missing")
    fields["benchmark"] = Benchmark(fields["benchmark"])
    fields["seeds"] = tuple(fields["seeds"])
    if not all(type(seed) is int for seed in fields["seeds"]):
        raise ValueError("seeds must be integers")
    return Plan(**fields)
