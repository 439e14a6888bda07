"""How far long work has come: values for whoever shows them. It never prints."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One look at one step of the work."""

    step: str
    done: int  # items, those of an earlier start counted
    total: int
    bytes_done: int
    bytes_total: int
    bytes_before: int  # done by an earlier start
    elapsed_s: float  # of this start

    @property
    def bytes_per_s(self) -> float:
        """Rate of this start; 0 before anything was done."""
        return (self.bytes_done - self.bytes_before) / max(self.elapsed_s, 1e-9)

    @property
    def eta_s(self) -> float | None:
        """Seconds to the end at this rate; None while there is no rate."""
        rate = self.bytes_per_s
        return (self.bytes_total - self.bytes_done) / rate if rate > 0 else None


Report = Callable[[Progress], None]


def silent(_progress: Progress) -> None:
    """Show nothing."""


class Meter:
    """Counts items and bytes of one step and reports each change."""

    def __init__(self, step: str, *, total: int, bytes_total: int, report: Report = silent) -> None:
        self._step, self._total, self._bytes_total = step, total, bytes_total
        self._report = report
        self._done = self._bytes = self._before = 0
        self._start = time.monotonic()

    def resume(self, items: int, size: int) -> None:
        """Count what an earlier start finished."""
        self._before += size
        self.add(items, size)

    def add(self, items: int, size: int) -> None:
        """Count finished items and their bytes."""
        self._done += items
        self._bytes += size
        self._report(
            Progress(
                step=self._step,
                done=self._done,
                total=self._total,
                bytes_done=self._bytes,
                bytes_total=self._bytes_total,
                bytes_before=self._before,
                elapsed_s=time.monotonic() - self._start,
            )
        )
