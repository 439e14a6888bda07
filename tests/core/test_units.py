import pytest

from launcher.core import units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:01Z", 1),
        ("1970-01-01T01:00:01.123456789+01:00", 1.123456),
        ("1970-01-01T00:00:01", None),
        ("0001-01-01T00:00:00Z", -62135596800),
        ("yesterday", None),
        (None, None),
        (5, None),
    ],
)
def test_a_moment_is_read_only_with_its_zone(text, seconds):
    assert units.moment(text) == seconds
