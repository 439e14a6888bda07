"""A frozen plan to finished runs: one fresh container per seed, in order, with the evidence.

It continues a set after any crash: a run that reached run_start keeps its number however it ended,
one that never did is repeated, and the ledger says so. It never re-rolls a seed, never deletes a
run and never decides whether a result is valid.
"""

import dataclasses
import enum
import json
import os
import platform
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

from launcher import __version__, cacheclear, runset, telemetry
from launcher.core.plan import Plan
from launcher.core.result import Result
from launcher.engine import base
from launcher.engine.base import ContainerSpec, Ended, Engine, Exit
from launcher.errors import EngineError, HostError, LogError
from launcher.filetree import sha256
from launcher.progress import Board
from launcher.recovery import Recovery, exit_facts, read_result
from launcher.store import STDERR, Store, told, write_all

SEED = "{seed}"  # stands in the plan's command for each run's own
RESULTS = "/results"
CLEARED_BY = "launcher/cacheclear.py"


class Outcome(enum.Enum):
    """How a session ended."""

    COMPLETE = "complete"
    INTERRUPTED = "interrupted"
    PAUSED = "paused"  # --until


class Stop:
    """SIGINT, SIGTERM and SIGHUP as a fact to ask for: nothing is torn in the middle of a write."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note the signals while the block runs."""
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup's wish is kept
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, self._note) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def asked(self) -> bool:
        """Say whether a signal came."""
        return self.signal is not None

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.signal = self.signal or signal.Signals(number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When to stop."""

    run_s: float  # one run, from the start of its container
    until: float = float("inf")  # no run starts after this (seconds since 1970)


class Runner:
    """Works on one run set; the caller holds its lock."""

    def __init__(
        self, store: Store, plan: Plan, engine: Engine, board: Board, *, stop: Stop, limits: Limits
    ) -> None:
        self._store = store
        self._plan = plan
        self._engine = engine
        self._board = board
        self._stop = stop
        self._limits = limits

    def work(self) -> Outcome:
        """Run what the plan still lacks.

        Raises EngineError or HostError when a run cannot be made; the set can be continued.
        """
        records = self._store.open_ledger()
        self._seal_plan(records[0].payload if records else None)
        if any(record.event == "complete" for record in records):
            return Outcome.COMPLETE
        self._store.append(
            "session",
            pid=os.getpid(),
            host=platform.node(),
            resumed=bool(records),
            launcher_version=__version__,
        )
        Recovery(self._store, self._plan, self._engine, self._board).mend(records)
        for number in range(len(self._plan.seeds)):
            if self._store.ended(number) is not None:
                self._board.ended(number, self._read(number))
            elif self._stop.asked():
                return self._interrupted(None)
            elif time.time() >= self._limits.until:
                return Outcome.PAUSED
            else:
                self._one(number)
                if self._stop.asked():
                    return self._interrupted(number)
        return self._complete()

    def _seal_plan(self, stated: Mapping[str, Any] | None) -> None:
        """Write the ledger's first record, or hold plan and hyperparameters against it."""
        found = {
            "plan_sha256": sha256(self._store.folder / runset.PLAN),
            "hyperparameters_sha256": sha256(self._store.folder / runset.HYPERPARAMETERS),
        }
        if stated is None:
            if any(self._store.folder.glob("run_*")):
                raise LogError(
                    f"{self._store.folder}: there are runs but no {runset.LEDGER}, so nothing can "
                    "show how they came about; put it back, or start another set with --results."
                )
            self._store.append("plan", **found)
        elif dict(stated) != found:
            raise LogError(
                f"{self._store.folder}: {runset.PLAN} or {runset.HYPERPARAMETERS} was changed "
                "after the first run; put it back, or start another set with --results."
            )

    def _one(self, number: int) -> None:
        """Make one run: clear caches, start, listen, seal, remove."""
        files = self._store.run(number)
        attempt, seed = files.attempts, self._plan.seeds[number]
        self._board.state(number, "clearing caches")
        head = self._clear_caches(number, attempt)
        log = self._store.open_log(number)
        with told(files.folder):
            stderr = (files.folder / STDERR).open("wb", buffering=0)
        with log, stderr:
            _writer(log, files.log)(head)
            spec = self._spec(number, attempt)
            started = time.monotonic()
            self._store.append(
                "run_start",
                run=number,
                attempt=attempt,
                seed=seed,
                container=spec.name,
                head_bytes=len(head),
                monotonic_s=round(started, 3),
            )
            self._board.state(number, "starting")
            write, show = _writer(log, files.log), self._board.feed(number)
            with telemetry.recording(files.folder / runset.TELEMETRY):
                end = self._engine.run(
                    spec,
                    on_stdout=lambda data: (write(data), show(data))[0],
                    on_stderr=_writer(stderr, files.folder / STDERR),
                    stopping=lambda: self._why(started) is not None,
                )
            with told(files.log):
                os.fsync(log.fileno())
        stopped_by = self._why(started) if end.ended is Ended.STOPPED else None
        elapsed_s = round(time.monotonic() - started, 3)
        facts = {"head_bytes": len(head), "stopped_by": stopped_by, "elapsed_s": elapsed_s}
        self._store.finish(number, exit_facts(self._store, number, seed, attempt, end) | facts)
        self._engine.remove(spec.name)
        self._judge(number, end)

    def _why(self, started: float) -> str | None:
        """Say why a run is to be stopped now, None while it is not."""
        if self._stop.signal is not None:
            return self._stop.signal.name
        return "time limit" if time.monotonic() - started > self._limits.run_s else None

    def _clear_caches(self, number: int, attempt: int) -> bytes:
        """Clear the page cache; return the MLLOG line that says so, where that is proven."""
        data = [
            mount.source
            for mount in base.from_json(self._plan.container).mounts
            if mount.target in ("/data", "/checkpoint")
        ]
        # A rehearsal leaves the rest of the machine its cache.
        proof = cacheclear.clear(data, everything=not self._plan.rehearsal)
        self._store.append("cache_clear", run=number, attempt=attempt, **proof.payload())
        if proof.holds:
            return cache_clear_line(time.time_ns() // 1_000_000)
        if self._plan.rehearsal:
            return b""
        raise HostError(
            f"the page cache still holds {proof.resident_after} of {proof.data_bytes} bytes of the "
            f"data set after clearing it{': ' + proof.problem if proof.problem else ''}; start the "
            "launcher as root, or keep the data on a file system other than tmpfs."
        )

    def _spec(self, number: int, attempt: int) -> ContainerSpec:
        """Fill what differs from run to run into the plan's container."""
        frozen = base.from_json(self._plan.container)
        output = self._store.run(number).folder.resolve() / "output"
        return dataclasses.replace(
            frozen,
            name=f"{frozen.name}-run-{number}-{attempt}",
            command=tuple(
                str(self._plan.seeds[number]) if word == SEED else word for word in frozen.command
            ),
            mounts=tuple(
                dataclasses.replace(mount, source=output) if mount.target == RESULTS else mount
                for mount in frozen.mounts
            ),
            labels={**frozen.labels, base.LABEL_RUN: str(number)},
        )

    def _judge(self, number: int, end: Exit) -> None:
        """Show the result; a run that failed before its clock started ends the session."""
        result = self._read(number)
        self._board.ended(number, result)
        if result.start_ms is not None or self._stop.asked():
            return
        reason = "it ran out of memory" if end.oom_killed else f"exit code {end.exit_code}"
        stderr = self._store.run(number).folder / STDERR
        last = stderr.read_bytes().strip().rpartition(b"\n")[2].decode("utf-8", "replace")
        raise EngineError(
            f"run {number} ended before run_start ({reason}{': ' + last if last else ''}); see "
            f"{stderr}, mend the cause and start the same command again: the run is repeated."
        )

    def _read(self, number: int) -> Result:
        target = self._board.rows[number].target
        return read_result(self._store, number, self._plan, target)

    def _interrupted(self, number: int | None) -> Outcome:
        name = self._stop.signal.name if self._stop.signal else ""
        self._store.append("interrupted", run=number, signal=name)
        return Outcome.INTERRUPTED

    def _complete(self) -> Outcome:
        numbers = range(len(self._plan.seeds))
        logs = {str(number): sha256(self._store.run(number).log) for number in numbers}
        self._store.append("complete", logs=logs)
        return Outcome.COMPLETE


def cache_clear_line(time_ms: int) -> bytes:
    """Return the MLLOG record of a proven cache clear, as mlperf-logging's own writer spells it."""
    record = {
        "namespace": "",
        "time_ms": time_ms,
        "event_type": "POINT_IN_TIME",
        "key": "cache_clear",
        "value": True,
        "metadata": {"file": CLEARED_BY, "lineno": 1},
    }
    return f":::MLLOG {json.dumps(record)}\n".encode()


def _writer(file: BinaryIO, path: Path) -> Callable[[bytes], None]:
    """Return what writes all bytes it is given, or says in one sentence why it cannot."""

    def write(data: bytes) -> None:
        with told(path):
            write_all(file, data)

    return write
