"""The machine while a run lasts, to telemetry.jsonl: one sample a second.

NVML where Python has it, else /proc alone. A sample that fails is left out; nothing here can end a
run.
"""

import contextlib
import importlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PERIOD_S = 1.0


@contextlib.contextmanager
def recording(path: Path) -> Iterator[None]:
    """Write samples to a file while the block runs."""
    stop = threading.Event()
    thread = threading.Thread(target=_record, args=(path, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=5 * PERIOD_S)


def _record(path: Path, stop: threading.Event) -> None:
    gpus = Gpus()
    busy, total = _cpu_ticks()
    with contextlib.suppress(OSError), path.open("a", encoding="utf-8", buffering=1) as file:
        while not stop.wait(PERIOD_S):
            busy_now, total_now = _cpu_ticks()
            share = (busy_now - busy) / max(1, total_now - total)
            busy, total = busy_now, total_now
            sample = {
                "time_ms": round(time.time() * 1000),
                "cpu_percent": round(100 * share, 1),
                "memory_used_bytes": _memory_used(),
                "gpus": gpus.sample(),
            }
            file.write(json.dumps(sample) + "\n")


class Gpus:
    """NVIDIA's management library, where it is there."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._handles: list[Any] = []
        try:
            nvml: Any = importlib.import_module("pynvml")
        except ImportError:
            return
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlInit()
            count = nvml.nvmlDeviceGetCount()
            self._handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
            self._nvml = nvml

    def sample(self) -> list[dict[str, Any]]:
        """Return power, utilisation, memory, temperature and clock of each GPU."""
        return [self._one(index, handle) for index, handle in enumerate(self._handles)]

    def _one(self, index: int, handle: Any) -> dict[str, Any]:  # noqa: ANN401 - NVML's own
        nvml: Any = self._nvml
        values: dict[str, Any] = {"index": index}
        readings: dict[str, Callable[[], Any]] = {
            "power_w": lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
            "utilization_percent": lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu,
            "memory_used_bytes": lambda: int(nvml.nvmlDeviceGetMemoryInfo(handle).used),
            "temperature_c": lambda: nvml.nvmlDeviceGetTemperature(handle, 0),
            "clock_mhz": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
        }
        for name, read in readings.items():
            with contextlib.suppress(nvml.NVMLError):
                values[name] = read()
        return values


def _cpu_ticks() -> tuple[int, int]:
    """Return busy and total ticks of all cores since boot (proc_stat(5))."""
    line = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0]
    ticks = [int(word) for word in line.split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)  # all but idle and iowait


def _memory_used() -> int:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    pairs = (line.split()[:2] for line in lines)
    values = {name.rstrip(":"): int(value) * 1024 for name, value in pairs}
    total = values.get("MemTotal", os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return total - values.get("MemAvailable", 0)
