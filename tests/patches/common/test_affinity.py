import os

import pytest

from pytorch_common import affinity


@pytest.fixture
def board(tmp_path):
    """Two sockets of two cores with two threads each, two GPUs on the first, one on the second."""
    gpus = {"0000:01:00.0": 0, "0000:02:00.0": 0, "0000:81:00.0": 1}
    for address, node in gpus.items():
        device = tmp_path / "bus/pci/devices" / address
        device.mkdir(parents=True)
        (device / "numa_node").write_text(f"{node}\n")
        (device / "local_cpulist").write_text(["0-1,4-5\n", "2-3,6-7\n"][node])
    for cpu in range(8):
        topology = tmp_path / f"devices/system/cpu/cpu{cpu}/topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    return tmp_path


@pytest.fixture
def kernel(monkeypatch):
    bound = {}
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cpus: bound.update(cpus=cpus))
    monkeypatch.setattr(affinity, "_prefer_memory", lambda node: bound.update(node=node) or True)
    return bound


GPUS = ["0000:01:00.0", "0000:02:00.0", "0000:81:00.0"]


@pytest.mark.parametrize(
    ("rank", "cpus", "node"), [(0, [0, 4], 0), (1, [1, 5], 0), (2, [2, 3, 6, 7], 1)]
)
def test_ranks_share_their_sockets_cores_without_splitting_one(board, kernel, rank, cpus, node):
    binding = affinity.bind(GPUS, rank, sysfs=board)
    assert kernel == {"cpus": cpus, "node": node}
    assert binding == affinity.Binding(cpus=tuple(cpus), node=node, note="cores and memory")


@pytest.mark.usefixtures("kernel")
def test_cores_outside_the_containers_set_are_left_alone(board, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert affinity.bind(GPUS, 1, sysfs=board).cpus == (1,)


def test_a_board_that_says_nothing_is_left_as_it_is(tmp_path, kernel):
    binding = affinity.bind(GPUS, 0, sysfs=tmp_path)
    assert not kernel
    assert "no usable core" in binding.note


@pytest.mark.parametrize(("text", "cpus"), [("0-3,8\n", (0, 1, 2, 3, 8)), ("5", (5,)), ("\n", ())])
def test_the_kernels_list_form_is_read(text, cpus):
    assert affinity.parse_cpulist(text) == cpus
