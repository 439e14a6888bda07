import math

import pytest
import torch

from pytorch_common import fastpath

CPU = torch.device("cpu")
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


@pytest.fixture
def other_rank(monkeypatch):
    """Another rank, which says of itself what the test tells it to."""
    said = {"refused": 0.0}
    monkeypatch.setattr(
        fastpath.distributed, "max_", lambda tensor: tensor.clamp(min=said["refused"])
    )
    return said


def test_a_path_is_refused_where_any_rank_refuses_it(other_rank):
    good, bad = prove([3.1, 4.0]), prove([3.0, 4.3])
    assert fastpath.agreed(good, device=CPU) is good
    assert fastpath.agreed(bad, device=CPU) is bad
    other_rank["refused"] = 1.0
    verdict = fastpath.agreed(good, device=CPU)
    assert not verdict.passed
    assert "another rank" in verdict.note
    assert fastpath.agreed(bad, device=CPU) is bad


def test_what_one_rank_cannot_make_no_rank_relies_on(other_rank):
    def impossible():
        raise NotImplementedError("not on this driver")

    assert fastpath.on_all_ranks(lambda: 3, device=CPU) == 3
    with pytest.raises(NotImplementedError, match="this driver"):
        fastpath.on_all_ranks(impossible, device=CPU)
    other_rank["refused"] = 1.0
    with pytest.raises(RuntimeError, match="another rank could not"):
        fastpath.on_all_ranks(lambda: 3, device=CPU)
