"""Our words to Docker's and back: a spec to SDK options, an answer to an Exit or a sentence.

It asks the engine nothing.
"""

from collections.abc import Mapping
from typing import Any, NoReturn

import docker.errors  # noqa: TID251 - the SDK's vocabulary, beside launcher/engine/docker.py
import docker.types  # noqa: TID251

from launcher.engine.base import ContainerSpec, Ended, Exit
from launcher.errors import EngineError, HostError

_NO_GPU = ("could not select device driver", "nvidia-container-cli", "unresolvable cdi devices")


def options(spec: ContainerSpec) -> dict[str, Any]:
    """Return the SDK's keyword arguments for creating this container."""
    mounts = [
        docker.types.Mount(
            type="bind", source=str(mount.source), target=mount.target, read_only=mount.read_only
        )
        for mount in spec.mounts
    ]
    ulimits = [
        docker.types.Ulimit(name=name, soft=soft, hard=hard)
        for name, (soft, hard) in spec.ulimits.items()
    ]
    gpus = [docker.types.DeviceRequest(driver="", count=-1, capabilities=[["gpu"]])]
    return {
        "name": spec.name,
        "command": list(spec.command),
        "working_dir": spec.working_dir,
        "mounts": mounts,
        "labels": dict(spec.labels),
        "environment": dict(spec.environment),
        "device_requests": gpus if spec.all_gpus else None,
        "network_mode": spec.network,
        "init": spec.init,
        "ipc_mode": spec.ipc,
        "shm_size": spec.shm_bytes,
        "ulimits": ulimits,
        "cap_add": list(spec.cap_add),
        "user": spec.user,
        "log_config": docker.types.LogConfig(type=spec.log_driver, config=dict(spec.log_options)),
    }


def ending(identity: str, state: Mapping[str, Any], *, stopped: bool, log_agrees: bool) -> Exit:
    """Return the Exit that a container's `State` amounts to."""
    started = state["Status"] not in ("lost", "created")
    ended = Ended.STOPPED if stopped else Ended.EXITED
    return Exit(
        ended=ended if started else Ended.LOST,
        exit_code=state.get("ExitCode") if started else None,
        container_id=identity,
        started_at=str(state.get("StartedAt", "")),
        finished_at=str(state.get("FinishedAt", "")),
        oom_killed=bool(state.get("OOMKilled", False)),
        log_agrees=log_agrees,
    )


def refused(spec: ContainerSpec, error: docker.errors.APIError) -> NoReturn:
    """Say in one sentence why the engine would not start a container."""
    said = str(error.explanation or error).strip().rstrip(".")
    if spec.all_gpus and any(sign in said.lower() for sign in _NO_GPU):
        raise HostError(
            "the Docker engine cannot give GPUs to a container; install the NVIDIA Container "
            f"Toolkit, run `nvidia-ctk runtime configure --runtime=docker`, restart it ({said})."
        ) from error
    raise EngineError(f"the Docker engine refuses the container {spec.name}: {said}.") from error
