"""This machine to the text of a system file, with a mark at what only its owner can say.

It writes YAML that `systems.load` reads; it never guesses: what could not be found is empty and
marked, and a run refuses the marks that matter.
"""

import json
import platform
import re
from collections.abc import Iterator

from launcher import host
from launcher.core.system import DESCRIPTION, STATUSES

FILL = "<fill in>"
MARK = "# fill in"


def name() -> str:
    """Return a file name for this node's system file, without its suffix."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", platform.node()).strip("-.") or "node"


def text() -> str:
    """Return systems/<node>.yaml for this machine."""
    return "\n".join([*_head(), "", "description:", *_described(description())]) + "\n"


def description() -> dict[str, str]:
    """Return every key of MLPerf's description that the machine itself can tell."""
    cpu, found = host.lscpu(), host.gpus()
    disks, modules = host.disks(), host.memory_modules()
    megahertz = cpu.get("CPU max MHz", "")
    return {
        "host_processors_per_node": cpu.get("Socket(s)", ""),
        "host_processor_model_name": cpu.get("Model name", ""),
        "host_processor_core_count": cpu.get("Core(s) per socket", ""),
        "host_processor_vcpu_count": cpu.get("CPU(s)", ""),
        "host_processor_frequency": f"{float(megahertz):.0f} MHz" if megahertz else "",
        "host_processor_caches": _caches(cpu),
        "host_memory_capacity": f"{host.memory_bytes() / (1 << 30):.0f} GiB",
        "host_memory_configuration": modules,
        "host_storage_type": ", ".join(dict.fromkeys(medium for medium, _ in disks)),
        "host_storage_capacity": ", ".join(size for _, size in disks),
        "host_networking": ", ".join(host.networks()),
        "accelerator_frequency": f"{found[0].clock_mhz} MHz" if found else "",
        "accelerator_interconnect": _interconnect() if found else "",
        "operating_system": host.operating_system(),
        "framework": "PyTorch",
        "other_software_stack": _software(),
        "sw_notes": "",
        "hw_notes": "",
    }


def _head() -> Iterator[str]:
    found = host.gpus()
    models = list(dict.fromkeys(gpu.model for gpu in found))
    title = f"{platform.node()} ({len(found)}x {models[0]})" if found else platform.node()
    yield f"# {platform.node()}, as `launcher system detect` found it. What it could not find is"
    yield f"# marked `{MARK}`; a real run refuses to start while {FILL} stands in it."
    if len(models) > 1:
        yield f"# Its GPUs differ: {', '.join(models)}. MLPerf describes one kind."
    yield f"title: {_quoted(title)}"
    yield f"submitter: {_quoted(FILL)}  {MARK}: who answers the RFP"
    yield "division: closed"
    yield f"status: {next(iter(STATUSES))}  # or: {'; '.join(list(STATUSES)[1:])}"
    yield ""
    yield "accelerators:"
    yield f"  count: {len(found)}"
    yield f"  model: {_quoted(models[0] if models else '')}"
    yield f"  memory_gib: {found[0].memory_gib if found else 0:g}"


def _described(found: dict[str, str]) -> Iterator[str]:
    optional = {"hw_notes", "sw_notes", "cooling"}
    for key in DESCRIPTION:
        value = found.get(key, "")
        mark = "" if value or key in optional else f"  {MARK}"
        yield f"  {key}: {_quoted(value)}{mark}"


def _quoted(value: str) -> str:
    """Return YAML's double-quoted form, of which JSON's is a part."""
    return json.dumps(value, ensure_ascii=False)


def _caches(cpu: dict[str, str]) -> str:
    names = ("L1d", "L1i", "L2", "L3")
    sizes = ((level, cpu.get(f"{level} cache") or cpu.get(level)) for level in names)
    return ", ".join(f"{level} {size}" for level, size in sizes if size)


def _interconnect() -> str:
    """Say NVLink where nvidia-smi lists active links, else nothing: PCIe has many widths."""
    links = re.findall(r"Link \d+: ([\d.]+) GB/s", host.ask("nvidia-smi", "nvlink", "--status"))
    return f"NVLink, links of {links[0]} GB/s" if links else ""


def _software() -> str:
    drivers = list(dict.fromkeys(gpu.driver for gpu in host.gpus()))
    engine = host.ask("docker", "version", "--format", "{{.Server.Version}}").strip()
    parts = [f"NVIDIA driver {drivers[0]}" if drivers else "", f"Docker {engine}" if engine else ""]
    return ", ".join(part for part in parts if part)
