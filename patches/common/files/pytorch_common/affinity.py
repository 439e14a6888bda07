"""A GPU's place on the board to the CPU cores and the memory its process should use.

Reads Linux's sysfs; binds this process and the threads it starts later. It never changes another
process, and a machine that does not say where its GPUs sit is left as it is, with the reason.
"""

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SYSFS = Path("/sys")
_SET_MEMPOLICY = {"x86_64": 238, "aarch64": 237}  # Linux system call numbers
_MPOL_PREFERRED = 1  # linux/mempolicy.h: allocate there first, elsewhere when it is full


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """The cores and the NUMA node a process was bound to, or why it was not."""

    cpus: tuple[int, ...]
    node: int | None
    note: str


def bind(bus_ids: Sequence[str], local_rank: int, sysfs: Path = SYSFS) -> Binding:
    """Bind this process to its share of the cores near its GPU.

    `bus_ids` are the PCI addresses of all local ranks' GPUs, in rank order, as "0000:1b:00.0".
    """
    near = [_near(sysfs, bus_id) for bus_id in bus_ids]
    cpus, node = near[local_rank]
    allowed = os.sched_getaffinity(0)
    peers = [rank for rank, (other, _) in enumerate(near) if other == cpus]
    mine = _share(
        _cores(sysfs, [cpu for cpu in cpus if cpu in allowed]),
        peers.index(local_rank),
        len(peers),
    )
    if not mine:
        return Binding(cpus=(), node=None, note="sysfs names no usable core near this GPU")
    os.sched_setaffinity(0, mine)
    bound = node is not None and _prefer_memory(node)
    note = "cores and memory" if bound else "cores only"
    return Binding(cpus=tuple(mine), node=node if bound else None, note=note)


def gpu_bus_ids(count: int) -> list[str]:
    """Ask the CUDA driver for the PCI addresses of the first GPUs visible to this process."""
    driver = ctypes.CDLL("libcuda.so.1")
    driver.cuInit(0)
    addresses = []
    for ordinal in range(count):
        device, address = ctypes.c_int(), ctypes.create_string_buffer(16)
        driver.cuDeviceGet(ctypes.byref(device), ordinal)
        driver.cuDeviceGetPCIBusId(address, len(address), device)
        addresses.append(address.value.decode("ascii"))
    return addresses


def parse_cpulist(text: str) -> tuple[int, ...]:
    """Read the kernel's list form, e.g. "0-3,8" -> (0, 1, 2, 3, 8)."""
    cpus: list[int] = []
    for part in text.strip().split(","):
        if part:
            first, _, last = part.partition("-")
            cpus.extend(range(int(first), int(last or first) + 1))
    return tuple(cpus)


def _near(sysfs: Path, bus_id: str) -> tuple[tuple[int, ...], int | None]:
    """Return the CPUs and the NUMA node of a PCI device; nothing where sysfs does not know."""
    device = sysfs / "bus/pci/devices" / bus_id.lower()
    try:
        cpus = parse_cpulist((device / "local_cpulist").read_text())
        node = int((device / "numa_node").read_text())
    except (OSError, ValueError):
        return (), None
    return cpus, node if node >= 0 else None


def _cores(sysfs: Path, cpus: Sequence[int]) -> list[tuple[int, ...]]:
    """Group CPUs by physical core, so that two ranks never share one."""
    cores: dict[tuple[int, ...], None] = {}
    for cpu in cpus:
        siblings = sysfs / f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        try:
            threads = parse_cpulist(siblings.read_text())
        except (OSError, ValueError):
            threads = (cpu,)
        cores[tuple(thread for thread in threads if thread in cpus)] = None
    return list(cores)


def _share(cores: Sequence[tuple[int, ...]], index: int, of: int) -> list[int]:
    """Return the CPUs of the index-th of equal shares; all of them when there are too few."""
    size = len(cores) // of
    mine = cores[index * size : (index + 1) * size] if size else cores
    return sorted(cpu for core in mine for cpu in core)


def _prefer_memory(node: int) -> bool:
    """Ask for memory on this NUMA node; False where the kernel refuses (needs CAP_SYS_NICE)."""
    number = _SET_MEMPOLICY.get(os.uname().machine)
    if number is None:
        return False
    mask = ctypes.c_ulong(1 << node)
    libc = ctypes.CDLL(None, use_errno=True)
    bits = ctypes.sizeof(mask) * 8 + 1  # the kernel reads one bit less than it is told
    return libc.syscall(number, _MPOL_PREFERRED, ctypes.byref(mask), bits) == 0
