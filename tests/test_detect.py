import dataclasses
from pathlib import Path

import pytest

from launcher import cli, detect, host, systems
from launcher.core.benchmark import Benchmark
from launcher.core.system import DERIVED, DESCRIPTION

GPU = host.Gpu(
    model="NVIDIA H200",
    memory_gib=140.4,
    driver="570.1",
    uuid="GPU-0",
    clock_mhz="1980",
    power_limit_w="700",
    ecc="Enabled",
    mig="Disabled",
    persistence="Enabled",
)


@pytest.fixture
def eight(monkeypatch):
    monkeypatch.setattr(host, "gpus", lambda: [GPU] * 8)


def read(text):
    return systems.loads(text.encode(), Path("node.yaml"))


@pytest.mark.usefixtures("eight")
def test_what_was_detected_is_a_system_file():
    system = read(detect.text())
    assert system.accelerators.count == 8
    assert system.accelerators.memory_gib == 140.4
    assert system.description["operating_system"]
    assert system.description["accelerator_frequency"] == "1980 MHz"
    settings = systems.settings(Path("node.yaml"), system, Benchmark.BERT, rehearsal=False)
    assert settings.preset.accelerators == 8


@pytest.mark.usefixtures("eight")
def test_all_33_keys_of_mlperf_are_there():
    assert set(read(detect.text()).mlperf_description()) == {*DERIVED, *DESCRIPTION}
    assert len({*DERIVED, *DESCRIPTION}) == 33


@pytest.mark.usefixtures("eight")
def test_what_only_its_owner_knows_is_marked_and_a_run_would_refuse_it():
    text = detect.text()
    assert "submitter" in read(text).placeholders
    assert '  cooling: ""\n' in text
    assert '  accelerator_on-chip_memories: ""  # fill in\n' in text


def test_gpus_that_differ_are_pointed_at(monkeypatch):
    other = dataclasses.replace(GPU, model="NVIDIA L40S")
    monkeypatch.setattr(host, "gpus", lambda: [GPU, other])
    assert "# Its GPUs differ: NVIDIA H200, NVIDIA L40S." in detect.text()


def test_nvidia_smi_is_read_also_where_it_does_not_know(monkeypatch):
    line = "NVIDIA H200, 143771, 570.1, GPU-1, 1980, 700.00, Enabled, [N/A], Enabled\n"
    monkeypatch.setattr(host, "ask", lambda *_: line * 2)
    first, second = host.gpus()
    assert first == second
    assert (first.model, first.memory_gib, first.mig) == ("NVIDIA H200", 140.4, "[N/A]")
    monkeypatch.setattr(host, "ask", lambda *_: "")
    assert host.gpus() == []


def test_memory_modules_are_counted(monkeypatch):
    table = "\tSize: 64 GB\n\tType: DDR5\n" * 16 + "\tSize: No Module Installed\n"
    monkeypatch.setattr(host, "ask", lambda *_: table)
    assert host.memory_modules() == "16x 64 GB DDR5"


def test_a_program_that_is_missing_or_fails_says_nothing():
    assert host.ask("no-such-program-here") == ""
    assert host.ask("false") == ""


def test_detect_never_overwrites(tmp_path, capsys):
    path = tmp_path / "node.yaml"
    assert cli.run(["system", "detect", "-o", str(path)]) == 0
    before = path.read_text()
    assert f"system check {path}" in capsys.readouterr().out
    assert cli.run(["system", "detect", "-o", str(path)]) == 2
    assert path.read_text() == before
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.usefixtures("eight")
def test_check_says_what_is_missing(tmp_path, capsys):
    path = tmp_path / "node.yaml"
    path.write_text(detect.text())
    assert cli.run(["system", "check", str(path)]) == 1
    assert "error: submitter is a placeholder" in capsys.readouterr().out
    path.write_text(detect.text().replace(detect.FILL, "Acme"))
    assert cli.run(["system", "check", str(path)]) == 0
    path.write_text(detect.text().replace("submitter", "submiter"))
    assert cli.run(["system", "check", str(path)]) == 2
    assert "did you mean submitter?" in capsys.readouterr().err
