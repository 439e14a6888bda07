import pytest

from pytorch_common import distributed
from pytorch_common.failure import RunError


class Event:
    """A point that the device comes to after so many questions."""

    def __init__(self, questions):
        self.questions = questions

    def query(self):
        self.questions -= 1
        return self.questions < 0


def test_a_wait_ends_when_the_device_has_come_there():
    event = Event(3)
    distributed.wait_for(event)
    assert event.questions == -1


def test_a_device_that_a_hanging_peer_holds_up_is_not_waited_for_without_end():
    with pytest.raises(RunError, match=r"did not end within 0\.01 s: another rank or its storage"):
        distributed.wait_for(Event(10**9), limit_s=0.01)
