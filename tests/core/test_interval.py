import math
import random
import statistics

import pytest

from launcher.core import interval, score


def test_the_interval_is_tukeys_and_mclaughlins():
    # kept 2, 3, 4; pulled in: 2, 2, 3, 4, 4; t(2) = 4.3027
    expected = 4.3027 * statistics.stdev([2, 2, 3, 4, 4]) / (0.6 * math.sqrt(5))
    assert interval.half_width([3, 1, 9, 4, 2]) == pytest.approx(expected)


def test_one_run_that_did_not_converge_does_not_widen_it():
    assert interval.half_width([3, 1, math.inf, 4, 2]) == interval.half_width([3, 1, 9, 4, 2])


@pytest.mark.parametrize("times", [[], [1, 2, 3], [1, 2, 3, math.inf, math.inf], [5.0] * 32])
def test_what_cannot_be_told_is_none(times):
    assert interval.half_width(times) is None


@pytest.mark.parametrize("count", [5, 10])
def test_it_holds_the_true_mean_about_95_times_in_100(count):
    chance = random.Random(1)  # noqa: S311 - no secret
    held = 0
    for _ in range(2000):
        times = [chance.gauss(10, 1) for _ in range(count)]
        mean = score.olympic_mean(times).minutes
        held += abs(mean - 10) <= interval.half_width(times)
    assert 0.93 <= held / 2000 <= 0.985


def test_a_scores_interval_follows_from_its_parts():
    one = score.Score(resnet=12.0, bert=5.0)
    faster = score.Score(resnet=12.0, bert=4.9)
    change = faster.value - one.value
    assert interval.of_score(one, 0.0, 0.1) == pytest.approx(change, rel=0.03)
    assert interval.of_score(one, 0.3, 0.0) == pytest.approx(7.19 / 144 * 0.3)
