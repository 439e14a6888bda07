import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.core import strictjson

PLAIN = st.recursive(
    st.none() | st.booleans() | st.text() | st.integers(-(10**28), 10**28) | st.floats(-1e9, 1e9),
    lambda below: st.lists(below) | st.dictionaries(st.text(), below),
    max_leaves=20,
)


@given(PLAIN)
def test_ordinary_json_comes_back_as_it_was(value):
    assert strictjson.loads(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"raw": 2.3, "raw": 9.9}', "key 'raw' stands twice"),
        ("[NaN]", "NaN is not a number of JSON"),
        ('{"a": -Infinity}', "-Infinity is not a number"),
        ("1e999", "too large"),
        ("1" + "0" * 400, "401 digits"),
        ("[" * 65 + "]" * 65, "nests deeper than 64"),
        ("[" * 100_000, "nests deeper than 64"),
        ('{"a": ' * 80 + "1" + "}" * 80, "nests deeper than 64"),
        ("", "Expecting value"),
        (b"\xff\xfe", "decode|Expecting"),
    ],
)
def test_what_two_readers_or_arithmetic_would_trip_over_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        strictjson.loads(text)


def test_a_document_of_64_levels_is_read():
    assert strictjson.loads("[" * 64 + "]" * 64)
