"""This machine to facts: what the plan keeps, and what `system detect` writes.

It reads /proc and /sys and asks the few programs that know more; a fact that cannot be had is None
or an empty text, never a guess.
"""

import contextlib
import csv
import io
import os
import platform
import re
import shutil
import subprocess  # noqa: TID251 - it asks nvidia-smi, lscpu, lsblk and dmidecode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMEOUT_S = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One accelerator, by nvidia-smi."""

    model: str
    memory_gib: float
    driver: str
    uuid: str
    clock_mhz: str
    power_limit_w: str
    ecc: str
    mig: str
    persistence: str


def facts() -> dict[str, Any]:
    """Return what a plan keeps of the host."""
    return {
        "hostname": platform.node(),
        "kernel": platform.release(),
        "operating_system": operating_system(),
        "python": platform.python_version(),
        "cpu": lscpu().get("Model name", platform.machine()),
        "cpus": os.cpu_count(),
        "memory_bytes": memory_bytes(),
        "gpus": [gpu.model for gpu in gpus()],
        "gpu_states": [
            {
                "uuid": gpu.uuid,
                "driver": gpu.driver,
                "clock_mhz": gpu.clock_mhz,
                "power_limit_w": gpu.power_limit_w,
                "ecc": gpu.ecc,
                "mig": gpu.mig,
                "persistence": gpu.persistence,
            }
            for gpu in gpus()
        ],
        "user_id": os.getuid(),
    }


def gpus() -> list[Gpu]:
    """List the NVIDIA GPUs of this machine; none where there is no driver."""
    names = (
        "name",
        "memory.total",
        "driver_version",
        "uuid",
        "clocks.max.sm",
        "power.limit",
        "ecc.mode.current",
        "mig.mode.current",
        "persistence_mode",
    )
    query = f"--query-gpu={','.join(names)}"
    text = ask("nvidia-smi", query, "--format=csv,noheader,nounits")
    found = []
    for row in csv.reader(io.StringIO(text), skipinitialspace=True):
        if len(row) == len(names):
            model, memory_mib, *rest = row
            size = float(memory_mib) / 1024 if memory_mib.isdigit() else 0.0
            found.append(_gpu(model, size, rest))
    return found


def _gpu(model: str, memory_gib: float, rest: Sequence[str]) -> Gpu:
    driver, uuid, clock, power, ecc, mig, persistence = rest
    return Gpu(
        model=model,
        memory_gib=round(memory_gib, 1),
        driver=driver,
        uuid=uuid,
        clock_mhz=clock,
        power_limit_w=power,
        ecc=ecc,
        mig=mig,
        persistence=persistence,
    )


def lscpu() -> dict[str, str]:
    """Return lscpu's fields by name."""
    pairs = (line.split(":", 1) for line in ask("lscpu").splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def operating_system() -> str:
    """Return the distribution's own name for itself."""
    with contextlib.suppress(OSError):
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    return platform.system()


def memory_bytes() -> int:
    """Return the size of main memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def memory_modules() -> str:
    """Describe the memory modules as dmidecode sees them (root only); empty where it may not."""
    sizes = re.findall(r"^\s+Size: (\d+ [GM]B)$", ask("dmidecode", "-t", "17"), re.MULTILINE)
    kinds = re.findall(r"^\s+Type: (DDR\S*)$", ask("dmidecode", "-t", "17"), re.MULTILINE)
    counted = {size: sizes.count(size) for size in dict.fromkeys(sizes)}
    kind = f" {kinds[0]}" if kinds else ""
    return ", ".join(f"{count}x {size}{kind}" for size, count in counted.items())


def disks() -> list[tuple[str, str]]:
    """List the disks: kind (NVMe SSD, SSD or HDD) and size."""
    found = []
    for line in ask("lsblk", "-dno", "NAME,SIZE,ROTA,TYPE").splitlines():
        name, size, rotating, kind = (*line.split(), "", "", "", "")[:4]
        if kind == "disk" and size != "0B":
            medium = "NVMe SSD" if name.startswith("nvme") else "HDD" if rotating == "1" else "SSD"
            found.append((medium, size))
    return found


def networks() -> list[str]:
    """List the physical network ports with their speed, where one is up."""
    found = []
    for place in sorted(Path("/sys/class/net").glob("*/device")):
        speed = ""
        with contextlib.suppress(OSError, ValueError):
            megabits = int((place.parent / "speed").read_text(encoding="ascii"))
            speed = f" {megabits / 1000:g} Gb/s" if megabits > 0 else ""
        found.append(f"{place.parent.name}{speed}")
    return found


def ask(program: str, *arguments: str) -> str:
    """Return what a program prints; nothing where it is missing, fails or hangs."""
    if shutil.which(program) is None:
        return ""
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        answer = subprocess.run(
            [program, *arguments],
            check=True,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout
