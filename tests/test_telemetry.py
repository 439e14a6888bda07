import json
import time
import types

from launcher import telemetry


class Error(Exception):
    pass


def refuse(*_):
    raise Error


def nvml(**changes):
    """Return a stand-in for NVIDIA's library on a node with two GPUs."""
    values = {
        "NVMLError": Error,
        "NVML_CLOCK_SM": 1,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetPowerUsage": lambda _: 650_500,
        "nvmlDeviceGetUtilizationRates": lambda _: types.SimpleNamespace(gpu=98),
        "nvmlDeviceGetMemoryInfo": lambda _: types.SimpleNamespace(used=1 << 30),
        "nvmlDeviceGetTemperature": lambda *_: 61,
        "nvmlDeviceGetClockInfo": lambda *_: 1980,
    }
    return types.SimpleNamespace(**(values | changes))


def gpus(monkeypatch, library):
    monkeypatch.setattr(telemetry.importlib, "import_module", lambda _: library)
    return telemetry.Gpus().sample()


def test_each_gpu_is_sampled(monkeypatch):
    first, second = gpus(monkeypatch, nvml())
    assert second["index"] == 1
    assert first == {
        "index": 0,
        "power_w": 650.5,
        "utilization_percent": 98,
        "memory_used_bytes": 1 << 30,
        "temperature_c": 61,
        "clock_mhz": 1980,
    }


def test_a_reading_that_a_gpu_does_not_have_is_left_out(monkeypatch):
    first, _ = gpus(monkeypatch, nvml(nvmlDeviceGetPowerUsage=refuse))
    assert "power_w" not in first
    assert first["clock_mhz"] == 1980


def test_without_a_driver_there_are_no_gpus(monkeypatch):
    assert gpus(monkeypatch, nvml(nvmlInit=refuse)) == []


def test_without_the_library_there_are_no_gpus(monkeypatch):
    def missing(_):
        raise ImportError

    monkeypatch.setattr(telemetry.importlib, "import_module", missing)
    assert telemetry.Gpus().sample() == []


def test_a_disk_that_is_full_ends_the_samples_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(telemetry, "PERIOD_S", 0.05)
    with telemetry.recording(tmp_path / "nowhere" / "telemetry.jsonl"):
        time.sleep(0.2)
    with telemetry.recording(tmp_path / "telemetry.jsonl"):
        time.sleep(0.5)
    lines = (tmp_path / "telemetry.jsonl").read_text().splitlines()
    assert len(lines) >= 2
    assert json.loads(lines[0])["memory_used_bytes"] > 0
