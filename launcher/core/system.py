"""A mapping, as a systems/*.yaml holds it, to a System; and a System to MLPerf's description.

It takes and returns values; launcher.systems reads the file. Every error names key, value and what
is allowed.
"""

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from launcher.core.benchmark import Benchmark

DIVISIONS = ("closed", "open")
# The text the system description wants -> the word the log wants (mlperf-logging 4.1.68).
STATUSES = {
    "Available on-premise": "onprem",
    "Available cloud": "cloud",
    "Preview": "preview",
    "Research, Development, or Internal (RDI)": "research",
}
# Filled from other keys of the system file, so that each fact stands once.
DERIVED = (
    "submitter",
    "division",
    "status",
    "system_name",
    "number_of_nodes",
    "accelerators_per_node",
    "accelerator_model_name",
    "accelerator_memory_capacity",
)
# The other keys that mlperf-logging's system_desc_checker wants; texts, empty where not known.
DESCRIPTION = (
    "host_processors_per_node",
    "host_processor_model_name",
    "host_processor_core_count",
    "host_processor_vcpu_count",
    "host_processor_frequency",
    "host_processor_caches",
    "host_processor_interconnect",
    "host_memory_capacity",
    "host_storage_type",
    "host_storage_capacity",
    "host_networking",
    "host_networking_topology",
    "host_memory_configuration",
    "accelerator_host_interconnect",
    "accelerator_frequency",
    "accelerator_on-chip_memories",
    "accelerator_memory_configuration",
    "accelerator_interconnect",
    "accelerator_interconnect_topology",
    "cooling",
    "hw_notes",
    "framework",
    "other_software_stack",
    "operating_system",
    "sw_notes",
)
PLACEHOLDERS = ("placeholder", "to be filled", "fill in", "changeme", "<", "todo", "xxx")
MAX_ACCELERATORS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerators:
    """The accelerators of the node. A count of 0 is a node without (rehearsals only)."""

    count: int
    model: str
    memory_gib: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a system file says for one benchmark: a preset, and what differs from it."""

    preset: str | None  # None: the launcher chooses by accelerator and count
    hyperparameters: Mapping[str, Any]  # keyed by MLLOG names
    training: Mapping[str, Any]  # what is not logged


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """What the proponent projects for the machine on offer; never measured here."""

    resnet_seconds: float
    bert_seconds: float
    nodes: int
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One node, who offers it, and how the benchmarks shall run on it."""

    name: str  # of the file, of results/<name>/ and of systems/<name>.json
    title: str  # system_name of the description
    submitter: str
    division: str
    status: str  # one of STATUSES
    platform: str  # submission_platform of the logs
    accelerators: Accelerators
    choices: Mapping[Benchmark, Choice]
    description: Mapping[str, Any]  # the keys of DESCRIPTION
    proposed: Proposed | None
    source: Mapping[str, Any]  # the mapping it was read from, for the plan

    @property
    def log_status(self) -> str:
        """The status as the logs spell it: onprem, cloud, preview or research."""
        return STATUSES[self.status]

    @property
    def placeholders(self) -> tuple[str, ...]:
        """Keys whose text was never filled in."""
        texts = {
            "submitter": self.submitter,
            "title": self.title,
            "platform": self.platform,
            "accelerators.model": self.accelerators.model,
        }
        return tuple(key for key, text in texts.items() if is_placeholder(text))

    def mlperf_description(self) -> dict[str, Any]:
        """Return all 33 keys that MLPerf wants in systems/<name>.json."""
        some = self.accelerators.count > 0
        return {
            "submitter": self.submitter,
            "division": self.division,
            "status": self.status,
            "system_name": self.title,
            "number_of_nodes": "1",
            **self.description,
            "accelerators_per_node": str(self.accelerators.count),
            "accelerator_model_name": self.accelerators.model,
            "accelerator_memory_capacity": f"{self.accelerators.memory_gib:g} GiB" if some else "",
        }


def is_placeholder(text: str) -> bool:
    """Say whether a text is one that nobody filled in."""
    return not text.strip() or any(word in text.lower() for word in PLACEHOLDERS)


def parse(name: str, mapping: object) -> System:
    """Read a system from what its file holds.

    Raises ValueError naming the key, its value and what is allowed.
    """
    fields = _mapping("the file", mapping, _KEYS)
    title = _text(fields, "title")
    status = _one_of(fields, "status", STATUSES)
    return System(
        name=name,
        title=title,
        submitter=_text(fields, "submitter"),
        division=_one_of(fields, "division", DIVISIONS),
        status=status,
        platform=_text(fields, "platform") if "platform" in fields else f"1x{title}",
        accelerators=_accelerators(fields),
        choices=_choices(fields.get("benchmarks", {})),
        description=_description(fields.get("description", {})),
        proposed=_proposed(fields["proposed"]) if fields.get("proposed") is not None else None,
        source=_plain(fields),
    )


_KEYS = {
    "title": True,
    "submitter": True,
    "division": True,
    "status": True,
    "platform": False,
    "accelerators": True,
    "benchmarks": False,
    "description": False,
    "proposed": False,
}


def _accelerators(fields: Mapping[str, Any]) -> Accelerators:
    keys = {"count": True, "model": True, "memory_gib": True}
    own = _mapping("accelerators", fields["accelerators"], keys)
    count = _number(own, "count", "accelerators.", low=0, high=MAX_ACCELERATORS, whole=True)
    return Accelerators(
        count=int(count),
        model=_text(own, "model", "accelerators.", empty=count == 0),
        memory_gib=_number(own, "memory_gib", "accelerators.", low=0, high=4096),
    )


def _choices(mapping: object) -> dict[Benchmark, Choice]:
    names = {benchmark.value: False for benchmark in Benchmark}
    sections = _mapping("benchmarks", mapping, names)
    return {Benchmark(name): _choice(name, section) for name, section in sections.items()}


def _choice(name: str, mapping: object) -> Choice:
    where = f"benchmarks.{name}"
    keys = {"preset": False, "hyperparameters": False, "training": False}
    own = _mapping(where, mapping if mapping is not None else {}, keys)
    preset = _text(own, "preset", f"{where}.") if own.get("preset") is not None else None
    return Choice(
        preset=preset,
        hyperparameters=_free(f"{where}.hyperparameters", own.get("hyperparameters")),
        training=_free(f"{where}.training", own.get("training")),
    )


def _free(where: str, mapping: object) -> dict[str, Any]:
    """Return a section whose keys others check (core/presets, the templates)."""
    return dict(_mapping(where, mapping if mapping is not None else {}, None))


def _description(mapping: object) -> dict[str, Any]:
    for key in _mapping("description", mapping, None):
        if key in DERIVED:
            raise ValueError(f"description.{key} is filled from the other keys; remove it")
    own = _mapping("description", mapping, dict.fromkeys(DESCRIPTION, False))
    for key, value in own.items():
        if key == "other_software_stack" and isinstance(value, Mapping):
            continue
        if not isinstance(value, str):
            raise _mistake(f"description.{key}", value, "a text: put it in quotes")
    return {key: own.get(key, "") for key in DESCRIPTION}


def _proposed(mapping: object) -> Proposed:
    keys = {"resnet_seconds": True, "bert_seconds": True, "nodes": True, "method": True}
    own = _mapping("proposed", mapping, keys)
    where = "proposed."
    return Proposed(
        resnet_seconds=_number(own, "resnet_seconds", where, low=1, high=1e7),
        bert_seconds=_number(own, "bert_seconds", where, low=1, high=1e7),
        nodes=int(_number(own, "nodes", where, low=1, high=1e5, whole=True)),
        method=_text(own, "method", where),
    )


def _mapping(where: str, value: object, keys: Mapping[str, bool] | None) -> Mapping[str, Any]:
    """Check a section against its keys (name -> required); None allows any text."""
    if not isinstance(value, Mapping):
        raise _mistake(where, value, "a mapping of keys to values")
    prefix = "" if where == "the file" else f"{where}."
    for key in value:
        if keys is not None and key not in keys:
            raise ValueError(f"{prefix}{key} is not a known key; {nearest(str(key), keys)}")
    for key in keys or ():
        if keys and keys[key] and value.get(key) is None:
            raise ValueError(f"{prefix}{key} is missing")
    return value


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint: the known word that comes nearest, or all of them."""
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"allowed: {', '.join(names)}"


def _text(own: Mapping[str, Any], key: str, where: str = "", *, empty: bool = False) -> str:
    value = own[key]
    if not isinstance(value, str):
        raise _mistake(where + key, value, "a text: put it in quotes")
    if not empty and not value.strip():
        raise ValueError(f"{where}{key} is empty; write what it is")
    return value


def _one_of(own: Mapping[str, Any], key: str, allowed: Iterable[str]) -> str:
    value = own[key]
    if value not in list(allowed):
        raise ValueError(f"{key} is {value!r}; allowed: {', '.join(map(repr, allowed))}")
    return str(value)


def _number(
    own: Mapping[str, Any], key: str, where: str, *, low: float, high: float, whole: bool = False
) -> float:
    value = own[key]
    kind = int if whole else int | float
    if isinstance(value, kind) and not isinstance(value, bool) and low <= value <= high:
        return float(value)
    name = "a whole number" if whole else "a number"
    raise ValueError(f"{where}{key} is {value!r}; allowed: {name} from {low:g} to {high:g}")


def _mistake(where: str, value: object, wanted: str) -> ValueError:
    return ValueError(f"{where} is {value!r}; it must be {wanted}")


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the file's content as JSON would hold it, which is how the plan keeps it."""
    try:
        return dict(json.loads(json.dumps(fields, allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise ValueError(f"the file holds a value that JSON cannot hold: {error}") from error
