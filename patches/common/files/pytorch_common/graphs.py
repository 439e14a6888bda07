"""Work on buffers that stay where they are to CUDA graphs that repeat it without the host.

Runs the work first, then records it. It never judges whether a graph repeats it rightly.
"""

import gc
from collections.abc import Callable, Sequence

import torch

WARM_RUNS = 3  # before a capture: lazy initialisation, cuDNN's search, communicators, compilation

Work = Callable[[], None]


def available(device: torch.device) -> bool:
    """Say whether work on this device can be captured at all."""
    return device.type == "cuda"


def capture(parts: Sequence[Work]) -> list[Work]:
    """Warm the parts up in order, record each, and return what replays them, in the same order.

    Warm-up and capture share one side stream (CUDA semantics, "Whole-network capture"): nodes of
    autograd and workspaces belong to the stream that made them. Raises RuntimeError where
    something in the work cannot be captured; the parts themselves then work as before.
    """
    side, pool = torch.cuda.Stream(), torch.cuda.graph_pool_handle()
    side.wait_stream(torch.cuda.current_stream())
    replays: list[Work] = []
    # A capture that fails leaves its stream current (torch/cuda/graphs.py, __exit__): this
    # context puts ours back.
    with torch.cuda.stream(side):
        for _ in range(WARM_RUNS):
            for part in parts:
                part()
        for part in parts:
            graph = torch.cuda.CUDAGraph()
            # thread_local: DALI's and NCCL's threads may query and allocate meanwhile.
            with torch.cuda.graph(graph, pool=pool, stream=side, capture_error_mode="thread_local"):
                part()
            replays.append(graph.replay)
    torch.cuda.current_stream().wait_stream(side)
    return replays


def release() -> None:
    """End every graph of this process, whoever holds it.

    NCCL destroys no communicator while a graph refers to it, but waits for ever (nccl, src/init.cc,
    commDestroySync): call this before the process group is destroyed.
    """
    torch.cuda.synchronize()
    for thing in gc.get_objects():
        if issubclass(type(thing), torch.cuda.CUDAGraph):
            thing.reset()
