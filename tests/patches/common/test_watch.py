import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pytorch_common.failure import DivergedError
from pytorch_common.watch import LossWatch


@pytest.fixture
def watch():
    return LossWatch(torch.device("cpu"), limit=10.0)


def test_losses_are_kept_until_they_are_asked_for(watch):
    for loss in (3.0, 2.0):
        watch.see(torch.tensor([loss]))
    assert watch.epoch_losses() == [3.0, 2.0]
    assert watch.epoch_losses() == []


@pytest.mark.parametrize("loss", [math.nan, math.inf, 10.5])
def test_a_loss_out_of_bounds_ends_the_run_with_its_step(watch, loss):
    watch.see(torch.tensor([3.0]))
    with pytest.raises(DivergedError, match="the loss of step 2 is"):
        watch.see(torch.tensor([loss]))


def test_with_a_lag_the_verdict_comes_that_many_steps_later_or_when_asked(watch):
    watch._lag = 2
    watch.see(torch.tensor([math.nan]))
    watch.see(torch.tensor([1.0]))
    with pytest.raises(DivergedError, match="the loss of step 1 is nan"):
        watch.see(torch.tensor([1.0]))
    late = LossWatch(torch.device("cpu"), limit=10.0)
    late._lag = 2
    late.see(torch.tensor([math.nan]))
    with pytest.raises(DivergedError):
        late.epoch_losses()


def test_a_loss_is_read_when_the_device_has_made_it(watch):
    asked = []

    class Event:
        def record(self):
            pass

        def query(self):
            asked.append(1)
            return len(asked) > 2

    watch._events = [Event() for _ in range(len(watch._slots))]
    watch.see(torch.tensor([3.0]))
    assert len(asked) == 3


@given(st.lists(st.one_of(st.floats(0, 9, width=32), st.none()), max_size=40), st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_every_loss_is_reported_once_and_in_order_whatever_the_lag(steps, lag):
    """None ends an epoch."""
    watch = LossWatch(torch.device("cpu"), limit=10.0)
    watch._lag = lag
    reported = []
    for loss in steps:
        if loss is None:
            reported += watch.epoch_losses()
        else:
            watch.see(torch.tensor([loss]))
    reported += watch.epoch_losses()
    assert reported == [loss for loss in steps if loss is not None]
