import dataclasses
import os
import re

import pytest

from launcher import containers, host, paths, planning, systems
from launcher.core.benchmark import Benchmark
from launcher.engine.base import LABEL
from launcher.engine.process import ProcessEngine
from launcher.errors import ConfigError, EngineError, HostError
from launcher.request import Request

EXAMPLE = paths.SYSTEMS / "example-8xh200.yaml"


@pytest.fixture(scope="session")
def h200(tmp_path_factory):
    """Return the example's file, filled in."""
    path = tmp_path_factory.mktemp("systems") / "node.yaml"
    text = re.sub(r"(?m)^(submitter|platform|title):.*", r"\1: Acme", EXAMPLE.read_text())
    path.write_text(text)
    return path


def request(benchmark=Benchmark.RESNET, **changes):
    values = {"benchmark": benchmark, "seeds": benchmark.facts.required_runs}
    return Request(**{**values, **changes})


def rehearsed(folder, benchmark=Benchmark.RESNET, **changes):
    changes = {"rehearsal": True, "engine": "process", **changes}
    asked = request(benchmark, **changes)
    place, system, _ = planning.choose_system(asked)
    return planning.draft(asked, place, system, folder)


@pytest.fixture
def real(h200):
    def make(folder, benchmark=Benchmark.RESNET, **changes):
        asked = request(benchmark, system=h200, **changes)
        return planning.draft(asked, h200, systems.load(h200), folder)

    return make


@pytest.mark.parametrize("seeds", [0, -1])
def test_no_runs_are_refused(seeds):
    with pytest.raises(ConfigError, match=f"--seeds is {seeds}; a rehearsal needs at least 1"):
        planning.check_seeds(request(seeds=seeds, rehearsal=True))


def test_a_real_set_needs_as_many_runs_as_the_rules_ask():
    with pytest.raises(ConfigError, match=r"--seeds is 3; a result of resnet needs at least 5"):
        planning.check_seeds(request(seeds=3))
    with pytest.raises(ConfigError, match=r"bert needs at least 10.*or add --rehearsal"):
        planning.check_seeds(request(Benchmark.BERT, seeds=9))
    planning.check_seeds(request(seeds=5))
    planning.check_seeds(request(seeds=12))


def test_seeds_are_distinct_and_come_from_the_operating_system(monkeypatch):
    drawn = iter([b"\0\0\0\2", b"\0\0\0\3", b"\xff\xff\xff\xff"])
    monkeypatch.setattr(os, "urandom", lambda _: next(drawn))
    assert planning.draw_seeds(2) == (1, (1 << 31) - 1)


def test_many_seeds_never_repeat():
    assert len(set(planning.draw_seeds(1000))) == 1000


def test_a_rehearsals_plan_is_whole(tmp_path):
    made = rehearsed(tmp_path / "set", seeds=2)
    plan = made.plan
    assert plan.rehearsal
    assert len(plan.seeds) == 2
    assert plan.engine == "process"
    assert plan.source["overlay_only"] is True
    assert plan.dataset["rehearsal"] is True
    assert plan.container["all_gpus"] is False
    assert plan.container["labels"][LABEL] in plan.container["name"]
    assert "--checkpoint" not in plan.container["command"]
    assert isinstance(made.engine, ProcessEngine)
    assert not (tmp_path / "set").exists()  # only the caller freezes


def test_bert_rehearses_without_a_checkpoint(tmp_path):
    container = rehearsed(tmp_path / "set", Benchmark.BERT).plan.container
    assert "/checkpoint" not in [mount["target"] for mount in container["mounts"]]
    assert "/checkpoint" not in container["command"]


def test_two_sets_never_share_a_name(tmp_path):
    names = {rehearsed(tmp_path / "set").plan.container["name"] for _ in range(2)}
    assert len(names) == 2


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.usefixtures("no_engine")
def test_a_rehearsal_without_engine_or_image_says_so_and_uses_processes(tmp_path):
    made = rehearsed(tmp_path / "set", engine=None)
    assert made.plan.engine == "process"
    assert made.notes[-1].startswith("engine: process, without containers, because")


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.usefixtures("no_engine")
def test_docker_asked_for_and_not_there_is_an_error(tmp_path):
    with pytest.raises(EngineError, match="start it, or rehearse without one"):
        rehearsed(tmp_path / "set", engine="docker")


def test_a_real_run_is_never_a_process(tmp_path, real, real_data):
    with pytest.raises(ConfigError, match="--engine process is for rehearsals"):
        real(tmp_path / "set", engine="process", data=real_data)


@pytest.fixture
def real_data(tmp_path, monkeypatch):
    """Stand in for 150 GB: what the plan keeps of a data set that passed its check."""
    monkeypatch.setattr(planning.dataset, "attest", lambda *_, **__: {"rehearsal": False})
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def test_missing_data_is_one_sentence(tmp_path, real):
    with pytest.raises(ConfigError, match=r"--data is missing; name the directory that"):
        real(tmp_path / "set")
    with pytest.raises(ConfigError, match=r"--data: .*nowhere is not a directory"):
        real(tmp_path / "set", data=tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"dataset\.json"):
        real(tmp_path / "set", data=tmp_path)


def test_a_missing_checkpoint_is_one_sentence(tmp_path, real, real_data):
    with pytest.raises(ConfigError, match="--checkpoint is missing"):
        real(tmp_path / "set", Benchmark.BERT, data=real_data)
    with pytest.raises(ConfigError, match=r"--checkpoint: .* does not exist"):
        real(tmp_path / "set", Benchmark.BERT, data=real_data, checkpoint=tmp_path / "no")
    with pytest.raises(ConfigError, match="--checkpoint is for bert only"):
        real(tmp_path / "set", data=real_data, checkpoint=tmp_path)


def test_placeholders_are_refused_before_anything_else(tmp_path, h200):
    path = tmp_path / "node.yaml"
    path.write_text(h200.read_text().replace("Acme", "<fill in>"))
    asked = request(system=path)
    with pytest.raises(ConfigError, match=r"node\.yaml: submitter was never filled in"):
        planning.draft(asked, path, systems.load(path), tmp_path / "set")


def test_a_preset_on_the_command_line_takes_the_files_place(tmp_path, h200):
    system = systems.load(h200)
    chosen = planning._with_preset(system, request(preset="safe"))
    assert chosen.choices[Benchmark.RESNET].preset == "safe"
    with pytest.raises(ConfigError, match="a rehearsal has its own"):
        rehearsed(tmp_path / "set", preset="safe")


def test_without_gpus_and_rehearsal_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr(systems, "default", lambda: None)
    monkeypatch.setattr(host, "gpus", list)
    with pytest.raises(HostError, match=r"no NVIDIA GPU.*rehearse here with --rehearsal"):
        planning.choose_system(request())


def test_the_one_own_system_file_is_taken_and_told(monkeypatch, h200):
    monkeypatch.setattr(systems, "default", lambda: h200)
    place, system, said = planning.choose_system(request())
    assert (place, system.name) == (h200, "node")
    assert "the only one" in said


def test_a_mount_that_is_gone_is_named_before_the_start(tmp_path):
    made = rehearsed(tmp_path / "set")
    spec = planning.base.from_json(made.plan.container)
    gone = dataclasses.replace(spec.mounts[1], source=tmp_path / "gone")
    with pytest.raises(ConfigError, match=r"gone \(for /data\) does not exist"):
        planning.check(made.engine, dataclasses.replace(spec, mounts=(gone,)), tmp_path / "set", 0)


def test_our_limits_are_asked_for_where_there_are_gpus(tmp_path, h200, real_data):
    asked = request(system=h200, data=real_data)
    spec = containers.spec(asked, systems.load(h200), real_data, None, tmp_path)
    assert spec.all_gpus
    assert spec.ulimits["memlock"] == (-1, -1)
    assert spec.user == f"{os.getuid()}:{os.getgid()}"


def test_a_folder_whose_name_is_not_utf8_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is not UTF-8 and cannot be written down"):
        rehearsed(tmp_path / "r\udce9sultats" / "resnet")
