"""TFRecord files and Examples, read without TensorFlow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.prepare import tfrecord
from launcher.prepare.tfrecord import RecordError


def write(path, payloads):
    path.write_bytes(b"".join(map(tfrecord.frame, payloads)))
    return path


def test_a_record_is_framed_as_tensorflow_frames_it():
    # tf.io.TFRecordWriter (2.15.1) of b"abc".
    expected = "0300000000000000b099490e6162636e57f121"
    framed = tfrecord.frame(b"abc")
    assert len(framed) == 8 + 4 + 3 + 4
    assert framed.hex() == expected


def test_records_come_back_with_where_their_payload_begins(tmp_path):
    payloads = [b"one", b"", b"three" * 1000]
    path = write(tmp_path / "r", payloads)
    records = list(tfrecord.read(path))
    assert [record.payload for record in records] == payloads
    raw = path.read_bytes()
    for record in records:
        assert raw[record.offset :].startswith(record.payload)
    assert tfrecord.is_tfrecord(path)


def test_every_flipped_bit_is_seen(tmp_path):
    whole = write(tmp_path / "r", [b"alpha", b"beta"]).read_bytes()
    path = tmp_path / "flipped"
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        with pytest.raises(RecordError, match=r"byte \d+"):
            list(tfrecord.read(path))


def test_every_cut_inside_a_record_is_seen(tmp_path):
    whole = write(tmp_path / "r", [b"alpha", b"beta"]).read_bytes()
    first = len(tfrecord.frame(b"alpha"))
    path = tmp_path / "cut"
    for length in set(range(1, len(whole))) - {first}:
        path.write_bytes(whole[:length])
        with pytest.raises(RecordError, match="cut off in the record at byte"):
            list(tfrecord.read(path))


@pytest.mark.parametrize("content", [b"", b"short", b"= Anarchism =\nis a movement that ..."])
def test_text_is_not_taken_for_records(tmp_path, content):
    path = tmp_path / "part"
    path.write_bytes(content)
    assert not tfrecord.is_tfrecord(path)


NAMES = st.text(min_size=1, max_size=5)


@given(
    st.dictionaries(NAMES, st.binary(max_size=5) | st.lists(st.integers(0, 1 << 40)).filter(bool))
)
def test_an_example_is_taken_apart_whatever_it_holds(example, features):
    record = example(features)
    found = tfrecord.features(record)
    assert found.keys() == features.keys()
    for name, value in features.items():
        if isinstance(value, bytes):
            start, end = tfrecord.text(record, found[name])
            assert record[start:end] == value
        elif len(value) == 1:
            assert tfrecord.integer(record, found[name]) == value[0]


@given(st.binary(min_size=1, max_size=40))
def test_bytes_that_are_no_example_are_refused_or_read_but_never_crash(data):
    try:
        tfrecord.features(data)
    except RecordError:
        return


NUMBERS = st.lists(st.integers(0, 1 << 40), min_size=1) | st.lists(
    st.floats(width=32, allow_nan=False), min_size=1
)


@given(st.dictionaries(st.text(min_size=1, max_size=150), NUMBERS))
def test_the_fast_walk_finds_what_the_general_one_finds(example, features):
    record = example(features)
    found = tfrecord.features(record)
    assert tfrecord.lists(record) == {
        name.encode(): b"".join(record[a:b] for _, (a, b) in tfrecord.fields(record, value.span))
        for name, value in found.items()
    }
    assert found.keys() == features.keys()


def test_unpacked_values_are_found_by_the_general_walk(message):
    numbers = b"".join(b"\x08" + bytes([number]) for number in (1, 2, 3))  # field 1, varint
    entry = message(1, b"ids") + message(2, message(3, numbers))
    assert tfrecord.lists(message(1, message(1, entry))) == {b"ids": b"\x01\x02\x03"}


@given(st.binary(min_size=1, max_size=40))
def test_the_fast_walk_never_crashes_on_other_bytes(data):
    try:
        tfrecord.lists(data)
    except RecordError:
        return
