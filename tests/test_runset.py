import json

import pytest

from launcher import runset
from launcher.core.benchmark import Benchmark
from launcher.errors import LogError
from launcher.paths import ROOT
from tests import recorded

PUBLISHED = ROOT.parent / "shared/published-results"
MEANS = {  # minutes, of published-results/README.md
    "NVIDIA/h200_ngc24.04_mxnet/resnet": 12.026761,
    "NVIDIA/h200_ngc23.09_pytorch/bert": 5.211650,
    "Dell/XE8640x4H100-SXM-80GB/resnet": 26.881917,
    "Dell/XE8640x4H100-SXM-80GB/bert": 9.836219,
    "Dell/XE9680x8H100-SXM-80GB/resnet": 13.162778,
    "Quanta_Cloud_Technology/D54U-3U/resnet": 44.600161,
}


@pytest.mark.parametrize("name", MEANS)
def test_a_published_set_is_found_and_gives_the_published_mean(name):
    folder = PUBLISHED / "v4.0" / name
    if not folder.is_dir():
        pytest.skip(f"the published results are not at {PUBLISHED}")
    assert runset.find(folder.parent.parent).count(folder) == 1
    assert runset.load(folder).score.minutes == pytest.approx(MEANS[name], abs=1e-6)


@pytest.mark.parametrize("benchmark", Benchmark)
def test_a_run_set_of_ours_comes_with_plan_ledger_and_exits(tmp_path, benchmark):
    folder = recorded.write(tmp_path / "set", benchmark)
    found = runset.load(folder)
    assert found.benchmark is benchmark
    assert found.chain.intact
    assert [run.number for run in found.runs] == list(range(benchmark.facts.required_runs))
    assert {run.exit["ended"] for run in found.runs} == {"exited"}
    assert found.score.valid


def test_the_copies_inside_a_run_set_are_not_found_as_a_set_of_their_own(tmp_path):
    folder = recorded.write(tmp_path / "set", Benchmark.RESNET)
    (folder / "export").mkdir()
    (folder / "export/result_0.txt").write_text("copy")
    assert runset.find(tmp_path) == [folder]


def test_result_10_comes_after_result_2(tmp_path):
    for number in (10, 2, 0):
        text = recorded.log(Benchmark.BERT, seed=number, start_ms=10**12 + number, minutes=5)
        (tmp_path / f"result_{number}.txt").write_bytes(text)
    assert [run.number for run in runset.load(tmp_path).runs] == [0, 2, 10]


def test_a_folder_without_logs_is_refused(tmp_path):
    with pytest.raises(LogError, match="holds no log"):
        runset.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": 7},
        {"seeds": None},
        {"benchmark": []},
        {"source": []},
        {"system": "x"},
        {"image": [1]},
        {"hyperparameters": None},
        {"host": 1},
    ],
)
def test_a_plan_that_holds_anything_else_is_refused(tmp_path, change):
    folder = recorded.write(tmp_path / "set", Benchmark.RESNET)
    path = folder / "plan.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(LogError, match=r"plan\.json"):
        runset.load(folder)


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, "{", '"x"'])
def test_a_plan_that_is_no_object_is_refused(tmp_path, text):
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(LogError, match=r"plan\.json"):
        runset.load(tmp_path)
