import json
import math

import pytest

from launcher.core import mllog, result
from launcher.core.benchmark import Benchmark
from launcher.core.mllog import Event
from launcher.core.result import Status


def event(key, value=None, time_ms=0.0, **metadata):
    return Event(line=1, time_ms=time_ms, key=key, value=value, metadata=metadata)


def bert(*events, accuracy=0.7201, status="success"):
    return [
        event("submission_benchmark", "bert"),
        event("submission_org", "ACME"),
        event("cache_clear", None, 1),
        event("init_start", None, 9),
        event("init_start", None, 5),
        event("seed", 42),
        event("global_batch_size", 768),
        event("init_stop", None, 20),
        event("weights_initialization", None, 30),
        event("run_start", None, 60_000),
        event("eval_accuracy", 0.5, 90_000, epoch_num=1_000_000),
        event("eval_accuracy", accuracy, 170_000, epoch_num=2_400_000),
        *events,
        event("run_stop", None, 180_000, status=status),
    ]


def build(events, **options):
    builder = result.Builder("result_0.txt", **options)
    builder.add(events)
    return builder.result()


def test_a_run_that_reached_the_target_is_a_success():
    run = build(bert())
    assert (run.status, run.reason, run.benchmark) == (Status.SUCCESS, "", Benchmark.BERT)
    assert run.converged
    assert run.minutes == run.elapsed == 2
    assert (run.progress, run.accuracy) == (2_400_000, 0.7201)
    assert (run.seed, run.seeds) == (42, (42,))
    assert run.global_batch_size == 768
    assert run.facts == {"submission_benchmark": "bert", "submission_org": "ACME"}
    assert run.hyperparameters == {"global_batch_size": 768}
    assert run.cache_clear_ms == (1,)
    assert (run.init_start_ms, run.init_stop_ms) == (5, 20)
    assert run.target == 0.72


@pytest.mark.parametrize(
    ("events", "status", "said"),
    [
        (bert(status="aborted"), Status.ABORTED, "'aborted'"),
        (bert(status=None), Status.ABORTED, "None"),
        (bert(accuracy=0.7199), Status.ABORTED, "0.71990 is below 0.72"),
        (bert(accuracy=1.0), Status.ABORTED, "0.50000 is below"),
        (bert(accuracy=float("nan")), Status.ABORTED, "0.50000 is below"),
        (bert(accuracy="0.73"), Status.ABORTED, "0.50000 is below"),
        (bert()[:-1], Status.INCOMPLETE, "no run_stop"),
        (bert()[:9], Status.INCOMPLETE, "no run_start"),
        ([], Status.INCOMPLETE, "no run_start"),
        (bert()[1:], Status.ABORTED, "submission_benchmark is None"),
        ([e for e in bert() if e.key != "eval_accuracy"], Status.ABORTED, "no accuracy"),
        (
            [event("run_start", None, 9), event("run_stop", None, 9, status="success")],
            Status.ABORTED,
            "not resnet or bert",
        ),
    ],
)
def test_a_run_without_proof_of_success_is_none_and_says_why(events, status, said):
    run = build(events)
    assert run.status is status
    assert said in run.reason
    assert run.minutes is None


def test_the_time_of_an_aborted_run_is_known_but_is_no_result():
    run = build(bert(status="aborted"))
    assert (run.elapsed, run.minutes) == (2, None)


def test_a_run_that_stops_before_it_starts_is_no_success():
    events = [e for e in bert() if e.key != "run_start"]
    events.insert(0, event("run_start", None, 180_000))
    assert build(events).reason == "run_stop is not after run_start"


def test_the_first_run_stop_ends_the_run_and_the_last_run_start_before_it_begins_it():
    events = [
        event("run_start", None, 1),
        *bert(),
        event("run_start", None, 999_999),
        event("eval_accuracy", 0.9, 999_999, epoch_num=9),
        event("run_stop", None, 9_999_999, status="aborted"),
    ]
    run = build(events)
    assert (run.start_ms, run.stop_ms, run.status) == (60_000, 180_000, Status.SUCCESS)
    assert run.accuracy == 0.7201


def test_samples_count_serves_where_epoch_num_is_missing():
    events = bert(event("eval_accuracy", 0.73, 1, samples_count=7), event("eval_accuracy", 0.8, 1))
    assert build(events).progress == 7


def test_a_caller_who_knows_better_sets_benchmark_and_target():
    assert build(bert(accuracy=0.3), target=0.2).converged
    assert build(bert(), benchmark=Benchmark.RESNET).target == 0.759
    assert math.isinf(build([]).target)


def test_a_rehearsal_needs_no_known_benchmark():
    assert build(bert()[1:], target=0.2).converged


def test_values_that_contradict_each_other_are_named():
    events = bert(event("global_batch_size", 816), event("submission_org", "ACME"))
    run = build(events)
    assert run.contradictions == ("global_batch_size",)
    assert run.global_batch_size == 768


@pytest.mark.parametrize("size", ["768", None, 7.5, True, {"a": 1}])
def test_a_batch_size_that_is_no_whole_number_is_none(size):
    events = [event("global_batch_size", size), *bert()]
    assert build(events).global_batch_size is None


def test_a_log_of_endless_values_is_not_kept_whole():
    many = 3 * result.MAX_POINTS
    builder = result.Builder("x")
    builder.add(bert()[:-3])
    builder.add(event("eval_accuracy", 0.1, 1, epoch_num=n) for n in range(many))
    builder.add(event("seed", "x" * 1000) for _ in range(many))
    builder.add(event("cache_clear", None, n) for n in range(many))
    builder.add([event("opt_name", "y" * 1000)])
    run = builder.result()
    assert len(run.curve) == len(run.seeds) == len(run.cache_clear_ms) == result.MAX_POINTS
    assert run.progress == many - 1
    assert len(run.seeds[1]) == len(run.hyperparameters["opt_name"]) == mllog.EXCERPT


def test_the_largest_step_back_of_the_clock_is_known():
    assert build(bert()).step_back_ms == 5  # init_start at 5, what follows is stamped 0
    assert build([*bert(), event("seed", 1, 170_000)]).step_back_ms == 10_000


def test_a_log_is_read_piece_by_piece():
    lines = [
        b":::MLLOG "
        + json.dumps(
            {"time_ms": e.time_ms, "key": e.key, "value": e.value, "metadata": dict(e.metadata)}
        ).encode()
        for e in bert()
    ]
    run, log = result.read("a", [b"\n".join([*lines, b":::MLL old"])])
    assert run.converged
    assert log.events == ()
    assert [found.line for found in log.suspicious] == [len(lines) + 1]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (10**400, f"1{'0' * (mllog.EXCERPT - 1)}"),
        ("\ud800", "\\ud800"),
        (2**63, 2**63),
        (1.5, 1.5),
    ],
)
def test_what_json_text_or_arithmetic_cannot_hold_is_kept_as_its_text(value, kept):
    run = build([event("seed", value), event("opt_name", value), *bert()])
    assert run.seed == kept
    assert run.hyperparameters["opt_name"] == kept
    assert json.dumps([run.seed], allow_nan=False).encode()
