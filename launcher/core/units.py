"""Minutes and seconds as types of their own: the score wants the one, the workbook the other.

Moments are seconds since 1970, read from ISO 8601; a text without a time zone is no moment.
"""

from datetime import datetime
from typing import NewType

Minutes = NewType("Minutes", float)
Seconds = NewType("Seconds", float)


def minutes_between(start_ms: float, stop_ms: float) -> Minutes:
    """Return the time between two MLLOG stamps (milliseconds)."""
    return Minutes((stop_ms - start_ms) / 60_000)


def seconds(minutes: Minutes) -> Seconds:
    """Convert minutes to seconds."""
    return Seconds(minutes * 60)


def moment(text: object) -> float | None:
    """Read an ISO 8601 time, also with the engine's nine digits, as seconds since 1970.

    None for anything else, and for a time without its zone: it means another moment elsewhere.
    """
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found.timestamp() if found is not None and found.tzinfo else None
