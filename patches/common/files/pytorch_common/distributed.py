"""The environment torchrun made to a running process group: one process per GPU, or CPU and gloo.

It never logs to MLLOG and never chooses a batch size; it says who this process is and joins it to
the others. Every wait has a limit, so that a lost peer cannot hold the container.
"""

import datetime as dt
import os
import time
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, distributed

from pytorch_common import graphs
from pytorch_common.failure import RunError

WAIT_S = 600.0  # for a peer, or for what it holds up
_POLL_S = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """Who this process is among the others."""

    rank: int
    local_rank: int
    world_size: int
    device: torch.device


def rank() -> int:
    """Return this process's rank before any group exists; 0 without torchrun."""
    return int(os.environ.get("RANK", "0"))


def join(*, accelerators: int, timeout_s: float = WAIT_S) -> Process:
    """Take this process's device and join the group that torchrun's environment describes.

    `accelerators` is the configuration's count; 0 means CPU. Raises RunError when the machine or
    torchrun gives another number.
    """
    environment = os.environ
    process = Process(
        rank=rank(),
        local_rank=int(environment.get("LOCAL_RANK", "0")),
        world_size=int(environment.get("WORLD_SIZE", "1")),
        device=torch.device("cpu"),
    )
    if accelerators:
        process = _with_gpu(process, accelerators)
    if process.world_size > 1:
        distributed.init_process_group(
            "nccl" if accelerators else "gloo",
            timeout=dt.timedelta(seconds=timeout_s),
            device_id=process.device if accelerators else None,
        )
    return process


def _with_gpu(process: Process, accelerators: int) -> Process:
    """Return the process with its own GPU made current, after checking the counts."""
    present = torch.cuda.device_count()
    if present < accelerators:
        raise RunError(
            f"hyperparameters.yaml: accelerators is {accelerators}, but {present} GPUs are visible"
            " here; give the container all GPUs or correct the system file."
        )
    if process.world_size != accelerators:
        raise RunError(
            f"hyperparameters.yaml: accelerators is {accelerators}, but torchrun started"
            f" {process.world_size} processes; start one per GPU."
        )
    device = torch.device("cuda", process.local_rank)
    torch.cuda.set_device(device)
    return Process(
        rank=process.rank,
        local_rank=process.local_rank,
        world_size=process.world_size,
        device=device,
    )


def leave() -> None:
    """Leave the group, if there is one; CUDA graphs end with it."""
    if not distributed.is_initialized():
        return
    if distributed.get_backend() == "nccl":
        graphs.release()
    distributed.destroy_process_group()


def barrier() -> None:
    """Wait for every rank; nothing to wait for when alone."""
    if distributed.is_initialized():
        distributed.barrier()


class Event(Protocol):
    """A point in a device's work."""

    def query(self) -> bool:
        """Say whether the device has come there."""


def wait_for(event: Event, *, limit_s: float = WAIT_S) -> None:
    """Wait until the device has come to an event. Raises RunError when that takes too long.

    NCCL's watchdog is not told of collectives in a CUDA graph (ProcessGroupNCCL.cpp, workEnqueue):
    a peer that hangs, without dying, would be waited for without end.
    """
    end = time.monotonic() + limit_s
    while not event.query():
        if time.monotonic() > end:
            raise RunError(
                f"a step did not end within {limit_s:g} s: another rank or its storage hangs; look"
                " for the rank that waits for no other, and for what it waits for."
            )
        time.sleep(_POLL_S)


def sum_(tensor: Tensor) -> Tensor:
    """Sum a tensor over all ranks in place, and return it."""
    if distributed.is_initialized():
        distributed.all_reduce(tensor)
    return tensor


def max_(tensor: Tensor) -> Tensor:
    """Take the maximum of a tensor over all ranks in place, and return it."""
    if distributed.is_initialized():
        distributed.all_reduce(tensor, op=distributed.ReduceOp.MAX)
    return tensor
