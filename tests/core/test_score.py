import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.core import result, score
from launcher.core.benchmark import Benchmark
from launcher.core.mllog import Event
from launcher.core.result import ResultSet
from launcher.core.score import NEVER
from launcher.core.units import minutes_between, seconds

NAN = float("nan")


def run(name, minutes, *, start=0.0, benchmark=Benchmark.RESNET):
    """A run of so many minutes; NEVER for one that did not converge."""
    ok = minutes is not NEVER
    stop = start + (minutes if ok else 99) * 60_000
    builder = result.Builder(name, benchmark=benchmark)
    builder.add(
        Event(line=1, time_ms=time, key=key, value=value, metadata=metadata)
        for key, value, time, metadata in [
            ("run_start", None, start, {}),
            ("eval_accuracy", 0.8, stop, {"epoch_num": 35}),
            ("run_stop", None, stop, {"status": "success" if ok else "aborted"}),
        ]
    )
    return builder.result()


def runs(*times, benchmark=Benchmark.RESNET):
    results = [
        run(f"run_{n}", time, start=1e9 + n * 1e7, benchmark=benchmark)
        for n, time in enumerate(times)
    ]
    return ResultSet(benchmark=benchmark, results=tuple(results))


def test_fastest_and_slowest_are_dropped_and_the_rest_averaged():
    mean = score.olympic_mean([5, 1, 3, 9, 4])
    assert (mean.minutes, mean.fastest, mean.slowest) == (4, 1, 3)


def test_one_run_that_did_not_converge_is_the_slowest():
    mean = score.olympic_mean([5, NEVER, 3, 1, 4])
    assert (mean.minutes, mean.slowest, mean.valid) == (4, 1, True)


def test_two_runs_that_did_not_converge_leave_no_mean():
    assert not score.olympic_mean([5, NEVER, 3, NEVER, 4]).valid


@pytest.mark.parametrize("times", [[], [1], [1, 2]])
def test_fewer_than_three_runs_leave_no_mean(times):
    assert not score.olympic_mean(times).valid


@given(st.lists(st.floats(0.1, 1e4), min_size=3, max_size=20), st.randoms())
def test_the_mean_lies_between_the_extremes_and_knows_no_order(times, random):
    mean = score.olympic_mean(times).minutes
    assert min(times) <= mean * (1 + 1e-9)
    assert mean <= max(times) * (1 + 1e-9)
    shuffled = sorted(times, key=lambda _: random.random())
    assert math.isclose(score.olympic_mean(shuffled).minutes, mean)


def test_a_full_set_is_scored():
    scored = score.score_set(runs(5, 1, 3, 9, 4))
    assert scored.valid
    assert scored.minutes == 4
    assert (scored.window.fastest, scored.window.slowest) == (1, 3)
    assert len(scored.windows) == 1
    assert scored.scored == scored.runs
    assert scored.normalised(1.5) == 6


def test_too_few_runs_are_no_result():
    scored = score.score_set(runs(5, 1, 3))
    assert scored.reason == "5 runs are required and 3 were made"
    assert (scored.minutes, scored.window, scored.scored) == (NEVER, None, ())


def test_two_failures_are_named():
    scored = score.score_set(runs(5, NEVER, 3, NEVER, 4))
    assert scored.reason == "more than one run did not converge: run_1, run_3"


def test_of_an_odd_number_of_windows_the_median_is_scored():
    # windows: 1..5 -> 3, 2..6 -> 4, 3..7 -> 5
    scored = score.score_set(runs(1, 2, 3, 4, 5, 6, 7))
    assert [window.mean.minutes for window in scored.windows] == [3, 4, 5]
    assert (scored.chosen, scored.minutes) == (1, 4)
    assert scored.scored == scored.runs[1:6]
    assert (scored.window.fastest, scored.window.slowest) == (1, 5)


def test_of_an_even_number_of_windows_the_slower_middle_one_is_scored():
    scored = score.score_set(runs(8, 7, 6, 5, 4, 3, 2, 1))
    assert [window.mean.minutes for window in scored.windows] == [6, 5, 4, 3]
    assert (scored.chosen, scored.minutes) == (1, 5)


def test_a_median_window_that_is_invalid_makes_the_result_invalid():
    scored = score.score_set(runs(NEVER, NEVER, 1, 1, 1, NEVER, NEVER))
    assert [window.mean.valid for window in scored.windows] == [False] * 3
    assert not scored.valid


def test_two_failures_far_apart_need_not_spoil_the_median():
    scored = score.score_set(runs(NEVER, 1, 1, 1, 1, 1, NEVER))
    assert [window.mean.valid for window in scored.windows] == [True, True, True]
    assert scored.valid


def test_windows_follow_the_start_of_the_runs_not_their_names():
    late, *rest = runs(9, 1, 2, 3, 4, 5).results
    late = dataclasses.replace(late, start_ms=1e12, stop_ms=1e12 + 9 * 60_000)
    scored = score.score_set(ResultSet(benchmark=Benchmark.RESNET, results=(late, *rest)))
    assert [one.name for one in scored.runs] == [
        "run_1",
        "run_2",
        "run_3",
        "run_4",
        "run_5",
        "run_0",
    ]


def test_a_run_that_never_started_stays_in_its_place():
    first, second, *rest = runs(1, 2, 3, 4, 5).results
    broken = dataclasses.replace(second, start_ms=None)
    scored = score.score_set(ResultSet(benchmark=Benchmark.RESNET, results=(first, broken, *rest)))
    assert scored.runs[1] is broken


def test_the_score_is_the_rfps_formula():
    scored = score.Score(resnet=7.19, bert=9.05)
    assert scored.value == 2
    assert scored.arithmetic == ("7.19/7.190000 + 9.05/9.050000 = 1.000000 + 1.000000 = 2.000000")


def test_both_scores_are_given_where_the_rcp_is_known():
    resnet = score.score_set(runs(*[7.19] * 5))
    bert = score.score_set(runs(*[9.05] * 10, benchmark=Benchmark.BERT))
    both = score.scores(resnet, bert, resnet_factor=2, bert_factor=1)
    assert (both.raw.value, both.normalised.value) == pytest.approx((2, 1.5))
    for factors in ((None, 1), (1, None)):
        scores = score.scores(resnet, bert, resnet_factor=factors[0], bert_factor=factors[1])
        assert scores.normalised is None


def test_a_set_without_result_adds_nothing():
    assert score.Score(resnet=NEVER, bert=9.05).value == 1


def test_stamps_become_minutes_and_minutes_seconds():
    assert minutes_between(0, 90_000) == 1.5
    assert seconds(1.5) == 90
