import pytest

from launcher.core import forecast, result
from launcher.core.benchmark import Benchmark
from launcher.core.mllog import Event

RESNET = Benchmark.RESNET


def run(minutes, epochs=35, batch=3264):
    """One ResNet run of so many minutes; None for one that did not converge."""
    builder = result.Builder("run", benchmark=RESNET)
    status = "aborted" if minutes is None else "success"
    builder.add(
        Event(line=1, time_ms=time, key=key, value=value, metadata=metadata)
        for key, time, value, metadata in [
            ("global_batch_size", 0, batch, {}),
            ("run_start", 0, None, {}),
            ("eval_accuracy", 1, 0.76, {"epoch_num": epochs}),
            ("run_stop", (minutes or 9) * 60_000, None, {"status": status}),
        ]
    )
    return builder.result()


def test_before_the_first_run_only_the_published_odds_speak():
    found = forecast.forecast(RESNET, [], 5, 0.05)
    assert (found.done, found.minutes, found.progress, found.factor) == (0, None, None, None)
    assert found.odds == pytest.approx(0.05)
    assert 0.01 < found.void < 0.06  # 5 runs, two fail: 2.3 % for certain odds


def test_a_failure_makes_another_likelier_and_the_set_weaker():
    before = forecast.forecast(RESNET, [run(12)], 5, 0.05)
    after = forecast.forecast(RESNET, [run(None)], 5, 0.05)
    assert after.odds > before.odds
    assert after.void > 5 * before.void
    assert (after.failed, after.progress) == (1, None)


def test_two_failures_of_five_are_the_end():
    found = forecast.forecast(RESNET, [run(None), run(None), run(12)], 5, 0.05)
    assert found.void == 1
    assert found.minutes is None


def test_more_planned_runs_can_still_save_a_set():
    found = forecast.forecast(RESNET, [run(None), run(12), run(12), run(12)], 9, 0.02)
    assert found.void < 0.1


def test_a_finished_set_is_certain():
    found = forecast.forecast(RESNET, [run(12), run(13), run(14), run(15), run(16)], 5, 0.05)
    assert found.void == 0
    assert found.minutes == (14, 14, 14)


def test_the_factor_so_far_compares_with_the_reference():
    found = forecast.forecast(RESNET, [run(12, 34), run(12, 35), run(None, 39)], 5, 0.05)
    assert found.progress == 34.5
    assert found.factor == pytest.approx(35.153846 / 34.5)
    assert forecast.forecast(RESNET, [run(12, 40)], 5, 0.05).factor == 1
    assert forecast.forecast(RESNET, [run(12, 40, batch=10**6)], 5, 0.05).factor is None


def test_the_same_runs_give_the_same_forecast():
    runs = [run(12), run(13)]
    assert forecast.forecast(RESNET, runs, 5, 0.05) == forecast.forecast(RESNET, runs, 5, 0.05)


@pytest.mark.parametrize("odds", [0.0, 1.0])
def test_published_runs_that_never_failed_do_not_make_a_failure_impossible(odds):
    found = forecast.forecast(RESNET, [run(12)], 5, odds)
    assert 0 < found.odds < 1
