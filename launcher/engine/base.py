"""What every engine takes and gives back: a ContainerSpec in, stdout bytes and an Exit out."""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

OnOutput = Callable[[bytes], object]  # raw bytes as they come, in order, unaltered
Stopping = Callable[[], bool]  # asked at least once a second; True: stop the container

LABEL = "gp2bm.set"  # the run set a container belongs to; orphans are found by it
LABEL_RUN = "gp2bm.run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A host path seen inside the container."""

    source: Path
    target: str
    read_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """Everything one fresh container needs. Built from compose.yaml, completed by the runner."""

    image: str
    name: str
    command: tuple[str, ...]
    working_dir: str
    mounts: tuple[Mount, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    all_gpus: bool
    network: str  # "none" for a run: rendezvous is on loopback
    init: bool
    ipc: str = "private"
    shm_bytes: int
    ulimits: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # name -> soft, hard
    cap_add: tuple[str, ...] = ()
    user: str | None = None
    stop_grace_s: float = 30.0
    log_driver: str = "json-file"
    log_options: Mapping[str, str] = field(default_factory=dict)


class Ended(enum.Enum):
    """How a container came to its end."""

    EXITED = "exited"  # by itself, whatever its exit code
    STOPPED = "stopped"  # by the launcher: interrupt or time limit
    LOST = "lost"  # the engine no longer knows it


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How one container ended and when, by the engine's word."""

    ended: Ended
    exit_code: int | None
    container_id: str
    started_at: str  # ISO 8601, UTC
    finished_at: str
    oom_killed: bool = False
    log_agrees: bool = True  # the engine's own copy of the output agrees with what arrived


class Engine(Protocol):
    """Runs one container to its end."""

    name: str  # "docker" or "process"

    def check(self, spec: ContainerSpec, *, accelerators: int) -> None:
        """Raise EngineError or HostError when this spec cannot be started here."""

    def run(
        self, spec: ContainerSpec, *, on_stdout: OnOutput, on_stderr: OnOutput, stopping: Stopping
    ) -> Exit:
        """Start a fresh container, hand over its output byte for byte, return how it ended.

        A container that fails is an Exit; an engine that does not answer raises EngineError. The
        container is still there afterwards: `remove` it once its log and exit state are on disk.
        When `stopping` says so, or a callback raises, the container is stopped, in bounded time.
        """

    def orphans(self, labels: Mapping[str, str]) -> list[str]:
        """Name the containers a crashed launcher left behind, found by their labels."""

    def collect(self, name: str, *, on_stdout: OnOutput, on_stderr: OnOutput) -> Exit:
        """Stop an orphan if it still runs, hand over all its output, return how it ended."""

    def remove(self, name: str) -> None:
        """Remove a container whose log and exit state are already on disk."""


def to_json(spec: ContainerSpec) -> dict[str, Any]:
    """Return the spec as plain JSON values, for the plan and for --dry-run."""
    values = {entry.name: getattr(spec, entry.name) for entry in fields(spec)}
    values["mounts"] = [
        {"source": str(mount.source), "target": mount.target, "read_only": mount.read_only}
        for mount in spec.mounts
    ]
    values |= {"command": list(spec.command), "cap_add": list(spec.cap_add)}
    values["ulimits"] = {name: list(limits) for name, limits in spec.ulimits.items()}
    for name in ("labels", "environment", "log_options"):
        values[name] = dict(values[name])
    return values


def from_json(values: Mapping[str, Any]) -> ContainerSpec:
    """Read `to_json`'s form back. Raises TypeError or KeyError where it is another form."""
    mounts = tuple(
        Mount(source=Path(entry["source"]), target=entry["target"], read_only=entry["read_only"])
        for entry in values["mounts"]
    )
    ulimits = {name: (soft, hard) for name, (soft, hard) in values["ulimits"].items()}
    restored = {
        "mounts": mounts,
        "ulimits": ulimits,
        "command": tuple(values["command"]),
        "cap_add": tuple(values["cap_add"]),
    }
    return ContainerSpec(**{**values, **restored})
