"""Minutes and seconds as types of their own: the score wants the one, the workbook the other."""

from typing import NewType

Minutes = NewType("Minutes", float)
Seconds = NewType("Seconds", float)


def minutes_between(start_ms: float, stop_ms: float) -> Minutes:
    """Return the time between two MLLOG stamps (milliseconds)."""
    return Minutes((stop_ms - start_ms) / 60_000)


def seconds(minutes: Minutes) -> Seconds:
    """Convert minutes to seconds."""
    return Seconds(minutes * 60)


def minutes(seconds: Seconds) -> Minutes:
    """Convert seconds to minutes."""
    return Minutes(seconds / 60)
