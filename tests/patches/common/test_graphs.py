import contextlib

import pytest
import torch
from torch import distributed as c10d

from pytorch_common import distributed, graphs


class Device:
    """Stands in for torch.cuda: notes what is done, and on which stream."""

    def __init__(self):
        self.done, self.current = [], "default"

    def part(self, name):
        return lambda: self.done.append(f"{name} on {self.current}")

    def stream_named(self, name):
        device = self

        class Stream:
            def __init__(self):
                self.name = name

            def wait_stream(self, other):
                device.done.append(f"{name} waits for {other.name}")

        return Stream

    @contextlib.contextmanager
    def stream(self, stream):
        before, self.current = self.current, stream.name
        try:
            yield
        finally:
            self.current = before

    @contextlib.contextmanager
    def graph(self, _, *, pool, stream, capture_error_mode):
        assert (pool, capture_error_mode) == ("pool", "thread_local")
        before, self.current = self.current, stream.name
        self.done.append("capture")
        yield  # where the body fails torch does not put the stream back, either
        self.done.append("captured")
        self.current = before


@pytest.fixture
def device(monkeypatch):
    device = Device()

    class Graph:
        def replay(self):
            device.done.append("replay")

        def reset(self):
            device.done.append("reset")

    for name, fake in {
        "Stream": device.stream_named("side"),
        "current_stream": device.stream_named("default"),
        "stream": device.stream,
        "graph": device.graph,
        "CUDAGraph": Graph,
        "graph_pool_handle": lambda: "pool",
        "synchronize": lambda: device.done.append("synchronize"),
    }.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return device


def test_parts_run_in_order_on_the_side_stream_before_each_is_captured_there(device):
    replays = graphs.capture([device.part("a"), device.part("b")])
    assert device.done == [
        "side waits for default",
        *["a on side", "b on side"] * graphs.WARM_RUNS,
        *["capture", "a on side", "captured", "capture", "b on side", "captured"],
        "default waits for side",
    ]
    for replay in replays:
        replay()
    assert device.done[-2:] == ["replay", "replay"]


def test_a_capture_that_fails_leaves_the_current_stream_as_it_was(device):
    def fails():
        if device.done[-1] == "capture":
            raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError, match="not permitted"):
        graphs.capture([fails])
    assert device.current == "default"


def test_leaving_ends_every_graph_before_nccl_waits_for_them(device, monkeypatch):
    held = graphs.capture([device.part("a")])
    monkeypatch.setattr(c10d, "is_initialized", lambda: True)
    monkeypatch.setattr(c10d, "get_backend", lambda: "nccl")
    monkeypatch.setattr(c10d, "destroy_process_group", lambda: device.done.append("destroy"))
    distributed.leave()
    assert device.done[-3:] == ["synchronize", "reset", "destroy"]
    assert held
