"""Reference convergence points: what may become one, and what mlperf-logging makes of it."""

import dataclasses
import io
import json

import pytest
from mlperf_logging.rcp_checker import rcp_checker

from launcher import official, rcp
from launcher.core.benchmark import Benchmark
from launcher.core.plan import Plan
from launcher.core.result import Status
from launcher.errors import ConfigError, LogError

FP32 = 'training:\n  precision: "fp32"  # the reference is the oracle\n'
EPOCHS = (35, 36, 37, 35, 36, 38, 35, 36, 36, 37)


@dataclasses.dataclass(frozen=True)
class Ran:
    """As much of a Result as a convergence point needs."""

    progress: float | None
    status: Status = Status.SUCCESS
    reason: str = ""


def plan(**changed):
    values = {
        "benchmark": Benchmark.RESNET,
        "implementation": "reference",
        "rehearsal": False,
        "created": "2026-11-24T00:00:00Z",
        "launcher_version": "0",
        "seeds": tuple(range(10)),
        "seed_source": "os.urandom",
        "engine": "docker",
        "image": None,
        "source": {"pin": "1078", "patches_sha256": "abc"},
        "system": {"name": "node", "submitter": "us"},
        "preset": "own",
        "hyperparameters": {"global_batch_size": 2448, "opt_name": "lars"},
        "hyperparameters_sha256": "",
        "container": {},
        "host": {},
        "dataset": None,
    }
    return Plan(**(values | changed))


def results(epochs=EPOCHS):
    return [Ran(progress=float(each)) for each in epochs]


def test_mlperf_logging_reads_the_file_as_custom_points():
    made = rcp.point(plan(), FP32, results())
    checker = rcp_checker.RCP_Checker(
        "training", "4.0.0", "resnet", verbose=False, rcp_file=io.StringIO(made.text)
    )
    assert checker.rcp_data["resnet_ref_2448"]["RCP Mean"] == 36.0
    assert made.own.mean == 36.0
    assert made.own.deviation == pytest.approx(0.9434, abs=1e-3)
    assert made.own.batch == 2448
    assert made.own.runs == 10


def test_the_points_of_the_package_stay_beside_the_new_one():
    made = rcp.point(plan(), FP32, results())
    batches = [figures.batch for figures in made.figures]
    assert batches == sorted(batches)
    assert {1632, 2448, 3264, 67840} <= set(batches)


def test_a_point_slower_than_its_neighbours_say_is_pruned():
    slow = rcp.point(plan(), FP32, results([epoch + 8 for epoch in EPOCHS]))
    assert slow.own.pruned
    fast = rcp.point(plan(), FP32, results([epoch - 2 for epoch in EPOCHS]))
    assert not fast.own.pruned


def test_a_rehearsal_carries_its_mark_in_file_and_name(tmp_path):
    made = rcp.point(plan(rehearsal=True, seeds=(1, 2, 3)), FP32, results((4, 4, 8)))
    assert json.loads(made.text)[made.name]["Note"] == rcp.MARK
    assert rcp.place(tmp_path / "rcps.json", rehearsal=True).name == "REHEARSAL-rcps.json"
    assert rcp.place(tmp_path / "rcps.json", rehearsal=False).name == "rcps.json"


def test_no_set_is_judged_by_the_points_of_a_rehearsal(tmp_path):
    made = rcp.point(plan(rehearsal=True, seeds=(1, 2, 3)), FP32, results((4, 4, 8)))
    file = tmp_path / "rcps.json"
    file.write_text(made.text)
    with pytest.raises(ConfigError, match="was made by a rehearsal"):
        official._copy_rcp(file, tmp_path / "copy")


@pytest.mark.parametrize(
    ("changed", "text", "said"),
    [
        ({"implementation": "pytorch"}, FP32, "only the reference"),
        ({}, FP32.replace('fp32"', 'bf16"'), "precision is not fp32"),
        ({"seeds": (1, 2, 3)}, FP32, "needs at least 10"),
        ({"hyperparameters": {"global_batch_size": 3264}}, FP32, "has a convergence point"),
    ],
)
def test_what_can_never_make_a_point_is_refused_before_it_runs(changed, text, said):
    with pytest.raises(ConfigError, match=said):
        rcp.check(plan(**changed), text)


def test_a_run_that_did_not_converge_makes_no_point():
    failed = [*results()[:-1], Ran(progress=40.0, status=Status.ABORTED, reason="0.75 of 0.759")]
    with pytest.raises(LogError, match=r"run 9 did not reach the target \(0\.75 of 0\.759\)"):
        rcp.point(plan(), FP32, failed)


def test_a_point_takes_twice_as_many_runs_as_a_result():
    assert [rcp.required_runs(benchmark) for benchmark in Benchmark] == [10, 20]
