import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.core import mllog
from launcher.core.mllog import MAX_LINE, Oddity


def record(key="seed", value=1, time_ms=1_700_000_000_000, **changes):
    fields = {
        "namespace": "",
        "time_ms": time_ms,
        "event_type": "POINT_IN_TIME",
        "key": key,
        "value": value,
        "metadata": {"file": "train.py", "lineno": 7},
    }
    fields |= changes
    return b":::MLLOG " + json.dumps(fields).encode()


def read(data, keys=None):
    return mllog.read([data], keys)


def keys_of(log):
    return [event.key for event in log.events]


def oddities_of(log):
    return [(found.line, found.oddity) for found in log.suspicious]


def test_a_record_becomes_an_event_with_its_line():
    log = read(b"chatter\n" + record(value={"a": [1]}) + b"\n")
    (event,) = log.events
    assert (event.line, event.key, event.value) == (2, "seed", {"a": [1]})
    assert event.time_ms == 1_700_000_000_000
    assert event.metadata == {"file": "train.py", "lineno": 7}
    assert event.event_type == "POINT_IN_TIME"
    assert (log.lines, log.suspicious) == (2, ())


@pytest.mark.parametrize("prefix", [b"", b"0: ", b"  12: ", b"[3] ", b"\t", b"progress 50%\r"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b" \n", b"  \r\n", b""])
def test_rank_prefixes_and_line_ends_are_nothing_odd(prefix, end):
    log = read(prefix + record() + end)
    assert keys_of(log) == ["seed"]
    assert log.suspicious == ()
    assert log.lines == 1


@pytest.mark.parametrize(
    "before",
    [
        b"[12:45:27] storage.cc:",
        b"^[[A^[[B\x08 \x08",
        b"result_8.txt:",
        b"16-bits training: True",
        b"[",
        "パスワード".encode(),
    ],
)
def test_a_record_glued_behind_text_is_used_and_listed(before):
    log = read(b"one\n" + before + record() + b"\n")
    assert keys_of(log) == ["seed"]
    assert oddities_of(log) == [(2, Oddity.TEXT_BEFORE)]


def test_every_record_of_a_line_is_used_and_the_sharing_listed():
    log = read(record("a") + record("b") + b" " + record("c") + b"\n")
    assert keys_of(log) == ["a", "b", "c"]
    assert oddities_of(log) == [(1, Oddity.SEVERAL_ON_A_LINE)] * 2


def test_a_carriage_return_ends_a_line_as_it_does_for_mlperf_logging():
    log = read(record("a") + b"\r50%\r" + record("b") + b"\r\n")
    assert keys_of(log) == ["a", "b"]
    assert log.suspicious == ()


def test_text_behind_a_record_is_listed():
    log = read(record() + b" done\n")
    assert keys_of(log) == ["seed"]
    assert oddities_of(log) == [(1, Oddity.TEXT_AFTER)]


@pytest.mark.parametrize(
    ("line", "oddity"),
    [
        (record()[:-1], Oddity.BROKEN_JSON),
        (record()[:40], Oddity.BROKEN_JSON),
        (b":::MLLOG ", Oddity.BROKEN_JSON),
        (b":::MLLOG {'key': 1}", Oddity.BROKEN_JSON),
        (b":::MLLOG " + b"[" * 100_000, Oddity.BROKEN_JSON),
        (b":::MLLOG " + b"9" * 5000, Oddity.BROKEN_JSON),
        (b":::MLLOG [1]", Oddity.NOT_A_RECORD),
        (record(None), Oddity.NOT_A_RECORD),
        (b":::MLLOG null", Oddity.NOT_A_RECORD),
        (record(time_ms=None), Oddity.BAD_TIME),
        (record(time_ms="1700000000000"), Oddity.BAD_TIME),
        (record(time_ms=True), Oddity.BAD_TIME),
        (record(time_ms=-1), Oddity.BAD_TIME),
        (record(time_ms=1e300), Oddity.BAD_TIME),
        (b":::MLL 1589.5 run_start: {}", Oddity.OLD_FORM),
        (b":::MLLOG{}", Oddity.OLD_FORM),
    ],
)
def test_what_cannot_be_used_is_listed_with_its_line(line, oddity):
    log = read(b"\n" + line + b"\n" + record("after") + b"\n")
    assert keys_of(log) == ["after"]
    assert oddities_of(log) == [(2, oddity)]
    assert oddity.lost
    assert str(log.suspicious[0]).startswith("line 2: this record ")


def test_a_time_that_is_not_a_number_is_no_time():
    log = read(record(time_ms=float("nan")) + b"\n")
    assert log.events == ()
    assert log.oddities == {Oddity.NOT_A_NUMBER: 1, Oddity.BAD_TIME: 1}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_json_does_not_know_is_used_and_listed(value):
    log = read(record(value=value) + b"\n")
    assert repr(log.events[0].value) == repr(value)
    assert oddities_of(log) == [(1, Oddity.NOT_A_NUMBER)]


@pytest.mark.parametrize("missing", ["value", "metadata"])
def test_a_record_that_lacks_a_field_is_used_and_listed(missing):
    fields = json.loads(record()[9:])
    del fields[missing]
    log = read(b":::MLLOG " + json.dumps(fields).encode() + b"\n")
    assert keys_of(log) == ["seed"]
    assert oddities_of(log) == [(1, Oddity.MISSING_FIELD)]


@pytest.mark.parametrize("metadata", [None, [], "x", 3])
def test_metadata_that_is_no_object_is_empty_and_listed(metadata):
    log = read(record(metadata=metadata) + b"\n")
    assert log.events[0].metadata == {}
    assert oddities_of(log) == [(1, Oddity.ODD_METADATA)]


def test_an_event_type_that_is_no_text_is_empty():
    assert read(record(event_type=3) + b"\n").events[0].event_type == ""


def test_utf8_is_read_and_other_bytes_are_kept_and_listed():
    text = json.dumps({"key": "a", "time_ms": 1, "value": "é", "metadata": {}}, ensure_ascii=False)
    log = read(b":::MLLOG " + text.encode() + b"\n:::MLLOG " + text.encode("latin-1") + b"\n")
    assert [event.value for event in log.events] == ["é", "é"]
    assert oddities_of(log) == [(2, Oddity.NOT_UTF8)]


def test_a_token_inside_a_value_starts_no_record_but_is_listed():
    log = read(record(value=":::MLLOG {}") + b"\n", keys=["other"])
    assert log.events == ()
    assert log.oddities == {Oddity.NESTED: 1}


def test_records_nobody_asked_for_are_counted_and_not_returned():
    reader = mllog.Reader(["seed"])
    lines = [record("other"), record("seed"), record("other", value={"x": [1]})]
    events = reader.feed(b"\n".join(lines) + b"\n")
    assert [(event.key, event.line) for event in events] == [("seed", 2)]
    assert (reader.records, reader.lines) == (3, 3)


def test_a_broken_record_is_listed_also_when_it_looks_like_one_nobody_asked_for():
    broken = record("other").replace(b'"value": 1', b'"value": 01')
    log = read(b"0: " + record("other") + b"\n" + broken + b"\n", keys=["seed"])
    assert oddities_of(log) == [(2, Oddity.BROKEN_JSON)]


def test_a_growing_log_gives_each_event_when_its_line_is_finished():
    reader = mllog.Reader()
    whole = record("a") + b"\n"
    assert reader.feed(whole[:50]) == []
    assert [event.key for event in reader.feed(whole[50:] + record("b"))] == ["a"]
    assert [event.key for event in reader.close()] == ["b"]
    assert reader.close() == []
    assert reader.lines == 2


def test_an_empty_log_holds_nothing():
    log = mllog.read([])
    assert (log.events, log.suspicious, log.lines) == ((), (), 0)


def test_a_line_of_megabytes_is_not_kept_and_a_record_at_its_end_is_found():
    reader = mllog.Reader()
    for _ in range(40):
        assert reader.feed(b"NCCL " * 20_000) == []
        assert len(reader._tail) <= MAX_LINE
    (event,) = reader.feed(record() + b"\nnext\n")
    assert (event.key, event.line, reader.lines) == ("seed", 1, 2)
    assert dict(reader.oddities) == {Oddity.TEXT_BEFORE: 1}


def test_a_token_cut_in_two_by_an_overlong_line_is_found():
    reader = mllog.Reader()
    reader.feed(b"x" * (MAX_LINE + 10) + b":::M")
    assert [event.key for event in reader.feed(record()[4:] + b"\n")] == ["seed"]


def test_an_unfinished_record_behind_an_overlong_text_is_kept():
    reader = mllog.Reader()
    assert reader.feed(b"x" * MAX_LINE + record()[:50]) == []
    assert [event.key for event in reader.feed(record()[50:] + b"\n")] == ["seed"]


def test_a_record_over_the_limit_is_lost_and_listed_in_one_piece_or_in_many():
    data = record(value="x" * MAX_LINE) + b"\n" + record("after") + b"\n"
    for size in (len(data), 60_000):
        log = mllog.read(data[start : start + size] for start in range(0, len(data), size))
        assert keys_of(log) == ["after"]
        assert oddities_of(log) == [(1, Oddity.TOO_LONG)]


def test_a_record_before_much_text_without_line_end_is_used():
    pieces = [record("a"), *[b"y" * 100_000] * 30, record("b"), b"\n"]
    assert keys_of(mllog.read(pieces)) == ["a", "b"]


def test_a_line_of_nothing_but_tokens_is_given_up():
    log = read(b":::MLL" * 2000 + b"\n" + record() + b"\n")
    assert keys_of(log) == ["seed"]
    assert log.oddities[Oddity.TOO_MANY] == 1


def test_a_line_without_end_of_nothing_but_tokens_is_given_up_at_once():
    reader = mllog.Reader()
    for _ in range(30):
        reader.feed(b":::MLL" * 20_000)
    assert [event.key for event in reader.feed(b"\n" + record() + b"\n")] == ["seed"]
    assert reader.oddities[Oddity.OLD_FORM] == mllog.MAX_ON_A_LINE


def test_carriage_returns_alone_end_lines_however_many_there_are():
    count = 40_000  # records of some 5 MB, without one line feed
    log = mllog.read([(record() + b"\r") * 1000] * (count // 1000))
    assert len(log.events) == count
    assert log.oddities.keys() <= {Oddity.TEXT_BEFORE}


def test_oddities_are_counted_beyond_those_that_are_listed():
    log = read(b":::MLL\n" * (mllog.MAX_LISTED + 5))
    assert len(log.suspicious) == mllog.MAX_LISTED
    assert log.oddities == {Oddity.OLD_FORM: mllog.MAX_LISTED + 5}


JUNK = st.binary(max_size=40) | st.sampled_from(
    [b"\n", b"\r\n", b"\r", b":::MLL", b":::MLLOG ", b'{"key": ', b"}", b'"', record(), record("b")]
)
LOGS = st.lists(JUNK | st.binary(max_size=5).map(lambda extra: record() + extra), max_size=30)


@settings(max_examples=300, deadline=None)
@given(LOGS.map(b"".join), st.lists(st.integers(1, 50), min_size=1, max_size=5))
def test_how_a_log_is_cut_into_pieces_changes_nothing(data, sizes):
    pieces, start = [], 0
    while start < len(data):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(data[start : start + size])
        start += size
    assert repr(mllog.read(pieces)) == repr(read(data))  # repr: NaN is not equal to itself


@settings(max_examples=300, deadline=None)
@given(LOGS.map(b"".join))
def test_asking_for_some_keys_gives_the_same_events_and_findings(data):
    everything, some = read(data), read(data, ["seed"])
    assert repr([e for e in everything.events if e.key == "seed"]) == repr(list(some.events))
    assert everything.suspicious == some.suspicious
    assert (
        everything.lines
        == some.lines
        == data.count(b"\n") + (not data.endswith(b"\n") and data != b"")
    )


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=1), VALUES, st.dictionaries(st.text(), VALUES, max_size=3))
def test_what_was_written_is_read_back(key, value, metadata):
    (event,) = read(record(key, value, metadata=metadata) + b"\n").events
    assert (event.key, event.value, event.metadata) == (key, value, metadata)
