import math

import pytest
import torch

from pytorch_common import fastpath

TRUTH = [torch.tensor([3.0, 4.0])]
PLAIN = [torch.tensor([3.0, 4.1])]  # wrong by 2 %


def prove(result, truth=TRUTH):
    return fastpath.prove("test", lambda: [torch.tensor(result)], plain=PLAIN, truth=truth)


def test_errors_are_relative_to_the_norm_of_the_truth():
    assert fastpath.relative_error(PLAIN, TRUTH) == pytest.approx(0.02)
    assert fastpath.relative_error(TRUTH, TRUTH) == 0


def test_a_path_as_good_as_the_plain_one_passes():
    verdict = prove([3.1, 4.0])
    assert verdict.passed
    assert verdict.error == pytest.approx(0.02)


@pytest.mark.parametrize("result", [[3.0, 4.3], [math.nan, 4.0]])
def test_a_path_that_is_worse_or_not_finite_is_refused(result):
    verdict = prove(result)
    assert not verdict.passed
    assert "not used" in verdict.note


def test_without_the_truth_the_plain_path_stands_in():
    assert prove([3.0, 4.1], truth=None).passed
    assert not prove([3.5, 4.1], truth=None).passed


def test_a_path_that_is_absent_is_refused_with_the_reason():
    def absent():
        raise ImportError("no module named apex")

    verdict = fastpath.prove("apex", absent, plain=PLAIN, truth=TRUTH)
    assert verdict.record["error"] is None
    assert "no module named apex" in verdict.note


def test_times_are_of_one_call():
    calls = []
    elapsed = fastpath.milliseconds(lambda: calls.append(1), device=torch.device("cpu"), calls=5)
    assert len(calls) == 15
    assert elapsed >= 0
