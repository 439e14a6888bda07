"""What every engine takes and gives back: a ContainerSpec in, stdout bytes and an Exit out."""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

OnOutput = Callable[[bytes], None]  # raw stdout as it comes, in order, unaltered


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
    shm_bytes: int
    ulimits: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # name -> soft, hard
    cap_add: tuple[str, ...] = ()
    user: str | None = None
    stop_grace_s: float = 30.0


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


class Engine(Protocol):
    """Runs one container to its end."""

    name: str  # "docker" or "process"

    def check(self, spec: ContainerSpec) -> None:
        """Raise EngineError or HostError when this spec cannot be started here."""

    def run(self, spec: ContainerSpec, on_stdout: OnOutput) -> Exit:
        """Start a fresh container, hand over stdout byte for byte, return how it ended.

        A container that fails is an Exit; an engine that does not answer raises EngineError.
        KeyboardInterrupt stops the container (bounded) and is re-raised.
        """

    def orphans(self, labels: Mapping[str, str]) -> list[str]:
        """Name the containers a crashed launcher left behind, found by their labels."""

    def remove(self, name: str) -> None:
        """Remove a container whose log and exit state are already on disk."""
