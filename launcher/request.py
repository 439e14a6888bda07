"""What a user asks `launcher run` for, as one value."""

from dataclasses import dataclass
from pathlib import Path

from launcher.core.benchmark import Benchmark


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asked for."""

    benchmark: Benchmark
    seeds: int
    rehearsal: bool = False
    system: Path | None = None
    preset: str | None = None
    engine: str | None = None  # "docker", "process"; None: chosen
    implementation: str = "pytorch"
    reference: str | None = None  # where the reference comes from
    tensorflow_python: Path | None = None  # runs the reference without a container
    data: Path | None = None
    checkpoint: Path | None = None
    image: str | None = None
    allow_stale_image: bool = False
