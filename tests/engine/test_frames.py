import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.engine.frames import STDERR, STDOUT, Differs, Frames, Tally

PIECES = st.lists(st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(max_size=40)))


def framed(pieces):
    return b"".join(struct.pack(">BxxxL", number, len(data)) + data for number, data in pieces)


def joined(pieces, wanted):
    return b"".join(data for number, data in pieces if number == wanted)


@settings(max_examples=50, deadline=None)
@given(PIECES, st.integers(1, 50))
def test_frames_come_apart_however_the_stream_is_cut(pieces, cut):
    raw = framed(pieces)
    frames, found = Frames(), []
    for start in range(0, len(raw), cut):
        found += frames.feed(raw[start : start + cut])
    for number in (STDOUT, STDERR):
        assert joined(found, number) == joined(pieces, number)


@settings(max_examples=50, deadline=None)
@given(st.text(), st.text(), st.integers(1, 20))
def test_what_did_not_arrive_is_told_from_the_copy(arrived, rest, cut):
    rest = f"\n{rest}"  # a cut inside a row of characters that are not ASCII cannot be found
    tally, whole = Tally(), (arrived + rest).encode()
    tally.add(arrived.encode())
    copy = [whole[start : start + cut] for start in range(0, len(whole), cut)]
    assert b"".join(tally.missing(copy)) == rest.encode()


def test_a_copy_that_rewrote_what_is_not_utf_8_still_agrees():
    tally = Tally()
    tally.add(b"a\xffb")
    assert list(tally.missing(["a\N{REPLACEMENT CHARACTER}b\n".encode()])) == [b"\n"]
    assert tally.is_own_newline(b"\n")


def test_a_newline_that_is_missing_after_a_newline_is_the_containers():
    tally = Tally()
    tally.add(b"a\n")
    assert not tally.is_own_newline(b"\n")


@pytest.mark.parametrize("copy", [[b"abx", b"def"], [b"ab"], [b"abx"], []])
def test_a_copy_that_does_not_begin_with_what_arrived_differs(copy):
    tally = Tally()
    tally.add(b"abc")
    with pytest.raises(Differs):
        list(tally.missing(copy))
