import io
import json
import math

import pytest

from pytorch_common.mlperf import RunLog, encodable


def records(stream):
    lines = stream.getvalue().splitlines()
    assert all(line.startswith(":::MLLOG ") for line in lines)
    return [json.loads(line.removeprefix(":::MLLOG ")) for line in lines]


@pytest.fixture
def stream():
    return io.StringIO()


def test_rank_0_writes_key_value_and_metadata(stream):
    RunLog(rank=0, stream=stream).event("eval_accuracy", 0.76, epoch_num=35)
    (record,) = records(stream)
    assert record["key"] == "eval_accuracy"
    assert record["value"] == 0.76
    assert record["event_type"] == "POINT_IN_TIME"
    assert record["metadata"]["epoch_num"] == 35


def test_a_record_names_the_file_and_line_that_logged_it(stream):
    log = RunLog(rank=0, stream=stream)
    log.start("init_start")
    log.event("seed", 1)
    first, second = records(stream)
    assert first["metadata"]["file"].endswith("test_mlperf.py")
    assert second["metadata"]["lineno"] == first["metadata"]["lineno"] + 1


def test_other_ranks_write_nothing(stream):
    log = RunLog(rank=1, stream=stream)
    log.run_start()
    log.events({"seed": 1})
    assert log.run_stop("success")
    assert not stream.getvalue()


def test_the_clock_stops_once_and_only_after_it_started(stream):
    log = RunLog(rank=0, stream=stream)
    assert not log.run_stop("aborted", reason="too early")
    log.run_start()
    assert log.run_stop("success", epoch_num=35)
    assert not log.run_stop("aborted", reason="too late")
    assert [record["key"] for record in records(stream)] == ["run_start", "run_stop"]
    assert records(stream)[1]["metadata"]["status"] == "success"


@pytest.mark.parametrize("value", [math.nan, math.inf, {"loss": -math.inf}])
def test_values_that_are_not_finite_become_text(stream, value):
    RunLog(rank=0, stream=stream).event("tracked_stats", value)
    (record,) = records(stream)
    assert record["value"] == encodable(value)
    assert "NaN" not in stream.getvalue()
    assert "Infinity" not in stream.getvalue()


def test_two_logs_do_not_double_each_other(stream):
    RunLog(rank=0, stream=io.StringIO())
    RunLog(rank=0, stream=stream).event("seed", 5)
    assert len(records(stream)) == 1
