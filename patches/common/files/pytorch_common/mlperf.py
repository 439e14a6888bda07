"""Facts of one run to `:::MLLOG` lines on stdout, from rank 0 only.

The format is mlperf-logging's own writer's; this module decides who writes and how often. It never
clears a cache or claims to (`cache_clear` is the launcher's), and it never writes a bare NaN.
"""

import logging
import math
import sys
import threading
from collections.abc import Mapping
from typing import TextIO

from mlperf_logging.mllog.mllog import MLLogger

Value = float | int | str | bool | Mapping[str, "Value"] | None

_CALLER = 2  # frames between mllog and whoever called us: the record names the line that logged


class RunLog:
    """Writes the records of one run; a silent one on every rank but 0."""

    def __init__(self, *, rank: int, stream: TextIO | None = None) -> None:
        self._writer = _writer(stream or sys.stdout) if rank == 0 else None
        self._lock = threading.Lock()  # a dying rank logs run_stop from another thread
        self._running = False

    def start(self, key: str, **metadata: Value) -> None:
        """Log the start of an interval."""
        if self._writer is not None:
            self._writer.start(key=key, metadata=metadata, stack_offset=_CALLER)

    def end(self, key: str, **metadata: Value) -> None:
        """Log the end of an interval."""
        if self._writer is not None:
            self._writer.end(key=key, metadata=metadata, stack_offset=_CALLER)

    def event(self, key: str, value: Value = None, **metadata: Value) -> None:
        """Log a point in time with its value."""
        if self._writer is not None:
            self._writer.event(
                key=key, value=encodable(value), metadata=metadata, stack_offset=_CALLER
            )

    def events(self, values: Mapping[str, Value]) -> None:
        """Log every entry of a mapping once, in order: hyperparameters, submission keys."""
        for key, value in values.items():
            if self._writer is not None:
                self._writer.event(key=key, value=encodable(value), stack_offset=_CALLER)

    def run_start(self) -> None:
        """Start the clock. Everything after this line counts."""
        with self._lock:
            self._running = True
            if self._writer is not None:
                self._writer.start(key="run_start", stack_offset=_CALLER)

    def run_stop(self, status: str, **metadata: Value) -> bool:
        """Stop the clock with `success` or `aborted`, once; say whether this call did it."""
        with self._lock:
            if not self._running:
                return False
            self._running = False
            if self._writer is not None:
                metadata = {"status": status, **metadata}
                self._writer.end(key="run_stop", metadata=metadata, stack_offset=_CALLER)
            return True


def encodable(value: Value) -> Value:
    """Return the value with non-finite floats as text: bare NaN is not JSON."""
    if isinstance(value, Mapping):
        return {key: encodable(entry) for key, entry in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _writer(stream: TextIO) -> MLLogger:
    """Return an mllog writer on this stream, apart from mllog's module-wide one."""
    # Not getLogger: one per RunLog, or a second one in the process would double every line.
    logger = logging.Logger("mlperf", level=logging.INFO)  # noqa: LOG001
    logger.addHandler(logging.StreamHandler(stream))  # flushes after every record
    return MLLogger(logger=logger)
