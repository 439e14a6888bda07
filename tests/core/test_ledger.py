import dataclasses
import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.core import ledger
from launcher.core.ledger import Break


def chain(*payloads):
    records = []
    for number, payload in enumerate(payloads):
        previous = records[-1] if records else None
        records.append(
            ledger.append(
                previous, time=f"2026-01-01T00:00:{number:02}Z", event="e", payload=payload
            )
        )
    return records


def text(records):
    return "".join(map(ledger.dumps, records)).encode()


RECORDS = chain({"a": 1}, {"b": [1.5, None]}, {"c": {"d": "é"}}, {})


def kinds(data):
    return [(fault.line, fault.kind) for fault in ledger.verify(data).faults]


def test_a_chain_is_read_back_whole():
    read = ledger.verify(text(RECORDS))
    assert read.intact
    assert list(read.records) == RECORDS


def test_the_first_record_follows_nothing():
    assert (RECORDS[0].n, RECORDS[0].prev_sha256) == (0, "0" * 64)


def test_the_seal_is_what_the_documentation_says():
    fields = dataclasses.asdict(RECORDS[1])
    seal = fields.pop("sha256")
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(canonical.encode()).hexdigest() == seal


def test_an_empty_ledger_is_intact():
    assert ledger.verify(b"") == ledger.Chain(records=(), faults=())


@pytest.mark.parametrize(
    ("order", "line"), [((0, 2, 3), 2), ((1, 2, 3), 1), ((0, 2, 1, 3), 2), ((0, 1, 1, 2), 3)]
)
def test_a_record_removed_moved_or_doubled_is_named(order, line):
    faults = kinds(text([RECORDS[index] for index in order]))
    assert faults[0] == (line, Break.UNCHAINED)


def test_the_last_records_can_be_missing_unseen_so_the_head_must_be_kept_elsewhere():
    assert ledger.verify(text(RECORDS[:2])).intact


@pytest.mark.parametrize(
    ("field", "value"), [("time", "2026"), ("event", "x"), ("payload", {"a": 2})]
)
def test_an_altered_record_is_named(field, value):
    altered = dataclasses.replace(RECORDS[0], **{field: value})
    assert kinds(text([altered, *RECORDS[1:]])) == [(1, Break.ALTERED)]


def test_a_record_sealed_anew_breaks_the_next():
    forged = ledger.append(None, time="x", event="e", payload={"a": 2})
    assert kinds(text([forged, *RECORDS[1:]])) == [(2, Break.UNCHAINED)]


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b"[]",
        b"nonsense",
        b"",
        b"\xff",
        b"[" * 100_000,
        text(RECORDS[:1]).strip().replace(b'"n":0', b'"n":"0"'),
        text(RECORDS[:1]).strip().replace(b'{"a":1}', b"[]"),
        text(RECORDS[:1]).strip().replace(b'"e"', b"null"),
    ],
)
def test_a_line_that_is_no_record_is_named(line):
    assert kinds(line + b"\n")[0] == (1, Break.UNREADABLE)


def test_another_spelling_of_the_same_record_is_named():
    line = text(RECORDS[:1])
    assert kinds(line.replace(b":", b": ", 1)) == [(1, Break.RESPELT)]
    assert kinds(line.replace(b'"n":0', b'"n":7,"n":0')) == [(1, Break.UNREADABLE)]


def test_a_line_cut_short_by_a_crash_is_told_apart():
    data = text(RECORDS)[:-5]
    assert kinds(data) == [(4, Break.TORN)]
    assert len(ledger.verify(data).records) == 3
    assert str(ledger.verify(data).faults[0]).startswith("line 4 is cut short")


@pytest.mark.parametrize("payload", [{"x": float("nan")}, {"x": object()}])
def test_a_payload_that_json_cannot_hold_is_refused(payload):
    with pytest.raises((ValueError, TypeError)):
        ledger.append(None, time="t", event="e", payload=payload)


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
PAYLOADS = st.dictionaries(
    st.text() | st.integers().map(str), SCALARS | st.text() | st.lists(SCALARS), max_size=4
)


@pytest.mark.parametrize("payload", [{"a": 10**400}, {"a": -(10**300)}, {1: "a", "1": "b"}])
def test_what_could_not_be_read_again_is_not_written(payload):
    with pytest.raises(ValueError, match=r"digits|stands twice"):
        chain(payload)


@settings(max_examples=200, deadline=None)
@given(st.lists(PAYLOADS, min_size=1, max_size=6))
def test_any_chain_survives_the_round_trip(payloads):
    records = chain(*payloads)
    read = ledger.verify(text(records))
    assert read.intact
    assert list(read.records) == records


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_single_byte_can_be_changed_unseen(data):
    good = text(RECORDS)
    position = data.draw(st.integers(0, len(good) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != good[position]))
    assert not ledger.verify(good[:position] + bytes([byte]) + good[position + 1 :]).intact


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_can_be_verified(data):
    ledger.verify(data)


@pytest.mark.parametrize("value", [10**400, float("nan"), json.loads("[" * 63 + "]" * 63)])
def test_nothing_is_written_that_could_not_be_read_back(value):
    with pytest.raises(ValueError, match=r"digits|not JSON compliant|nests deeper"):
        ledger.append(None, time="t", event="e", payload={"a": value})
