"""One of the reference's data scripts in a container of the reference image, without a network.

The host's paths are mounted under their own names, so a script's arguments are the same inside.
Containers carry the data directory as a label: what a killed launcher left is found and removed.
"""

import os
import uuid
from collections.abc import Sequence
from pathlib import Path

from launcher.engine.base import ContainerSpec, Mount
from launcher.engine.docker import DockerEngine
from launcher.errors import HostError

LABEL = "gp2bm.prepare"
TREE = Path("/workspace/training")
TAIL = 6  # lines of a failed script's output worth quoting


def check(image: str) -> None:
    """Raise EngineError when the engine does not answer or has no such image."""
    engine = DockerEngine()
    try:
        engine.image(image)
    finally:
        engine.close()


def run(
    image: str, command: Sequence[str], *, reads: Sequence[Path], writes: Path, label: str
) -> None:
    """Run a command to its end; it sees `reads` read-only and may write below `writes`.

    Raises HostError with the end of what it wrote, EngineError when the engine fails.
    """
    output = bytearray()
    engine = DockerEngine()
    spec = _spec(image, command, reads, writes, label)
    try:
        ended = engine.run(
            spec, on_stdout=output.extend, on_stderr=output.extend, stopping=lambda: False
        )
        engine.remove(spec.name)
    finally:
        engine.close()
    if ended.exit_code != 0:
        lines = output.decode(errors="replace").splitlines()[-TAIL:]
        reason = "out of memory" if ended.oom_killed else " | ".join(map(str.strip, lines))
        raise HostError(
            f"{Path(command[1]).name} in {image}: ended with code {ended.exit_code}: {reason}; "
            "mend that and start again, finished work is kept."
        )


def _spec(
    image: str, command: Sequence[str], reads: Sequence[Path], writes: Path, label: str
) -> ContainerSpec:
    sources = sorted({path.resolve() for path in reads} - {writes.resolve()})
    mounts = [Mount(source=path, target=str(path), read_only=True) for path in sources]
    mounts.append(Mount(source=writes.resolve(), target=str(writes.resolve()), read_only=False))
    return ContainerSpec(
        image=image,
        name=f"gp2bm-prepare-{uuid.uuid4().hex[:12]}",
        command=tuple(command),
        working_dir="/tmp",  # noqa: S108 - inside a fresh container
        mounts=tuple(mounts),
        labels={LABEL: label},
        environment={"TF_CPP_MIN_LOG_LEVEL": "3", "HOME": "/tmp"},  # noqa: S108
        all_gpus=False,
        network="none",
        init=True,
        shm_bytes=64 << 20,
        user=f"{os.getuid()}:{os.getgid()}",
    )


def sweep(label: str) -> None:
    """Remove the containers that carry a label, running or not."""
    engine = DockerEngine()
    try:
        for name in engine.orphans({LABEL: label}):
            engine.remove(name)
    finally:
        engine.close()
