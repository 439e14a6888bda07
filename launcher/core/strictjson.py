"""JSON text to values that arithmetic, recursion and a second reader cannot trip over.

Files that came from elsewhere may hold what JSON allows and nobody writes: a key twice, NaN,
numbers that no float holds, nesting without end. All of these are refused here, so that no reader
has to think of them.
"""

import json
import math
from typing import Any

MAX_DEPTH = 64  # plans nest six deep
MAX_DIGITS = 300  # of an integer: with 309, no float holds it


def loads(text: str | bytes) -> Any:  # noqa: ANN401 - any JSON
    """Read one JSON document. Raises ValueError saying what is wrong with it."""
    try:
        value = json.loads(
            text,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_real,
            object_pairs_hook=_unique,
        )
    except RecursionError as error:
        raise ValueError(f"it nests deeper than {MAX_DEPTH} levels") from error
    _require_shallow(value)
    return value


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON")


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise ValueError(f"it holds a number of {len(digits)} digits")
    return int(digits)


def _real(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"it holds a number that is too large ({text[:40]})")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = max(keys, key=keys.count)
        raise ValueError(f"key {twice!r} stands twice")
    return values


def _require_shallow(value: object) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            below
            for each in level
            if isinstance(each, dict | list)
            for below in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise ValueError(f"it nests deeper than {MAX_DEPTH} levels")
