"""A run set's files, and the only way they are written: whole, synced, or not at all.

It keeps the layout of docs/architecture.md, the lock and the ledger. It never changes or deletes
what a run left; an attempt that may be repeated is moved aside, whole. A full disk is one sentence.
"""

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from launcher.core import ledger, strictjson
from launcher.core import plan as plans
from launcher.core.plan import Plan
from launcher.errors import ConfigError, HostError, LogError
from launcher.runset import EXIT, HYPERPARAMETERS, LEDGER, LOG, PLAN, REHEARSAL_LOG

LOCK = ".lock"
STDERR = "stderr.txt"
OUTPUT = "output"  # what the container sees as /results
PARTIAL = ".partial"


def now() -> str:
    """Return this moment as the ledger spells it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFiles:
    """Where the files of one run lie."""

    folder: Path
    rehearsal: bool

    @property
    def log(self) -> Path:
        """The container's stdout; a rehearsal's says so in its name."""
        return self.folder / (REHEARSAL_LOG if self.rehearsal else LOG)

    @property
    def exit(self) -> Path:
        """What makes a run done."""
        return self.folder / EXIT

    @property
    def moving(self) -> bool:
        """Say whether a crash left a start half moved aside."""
        return any(self.folder.glob(f"attempt_*{PARTIAL}"))

    @property
    def attempts(self) -> int:
        """How many starts that never reached run_start were moved aside."""
        return sum(1 for path in self.folder.glob("attempt_*") if path.suffix != PARTIAL)


class Store:
    """One run set on disk. Only the launcher that holds its lock writes."""

    def __init__(self, folder: Path, *, rehearsal: bool) -> None:
        self.folder = folder
        self.rehearsal = rehearsal
        self._last: ledger.Record | None = None

    def run(self, number: int) -> RunFiles:
        """Return the places of one run's files."""
        return RunFiles(folder=self.folder / f"run_{number}", rehearsal=self.rehearsal)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the set for this launcher. Raises ConfigError when another one holds it."""
        with told(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / LOCK).open("a+b")
        with lock:
            try:
                with told(self.folder / LOCK, passing=BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError(
                    f"{self.folder}: another launcher works on this run set; wait for it, watch it "
                    "with `launcher status`, or choose another --results."
                ) from None
            yield

    def plan(self) -> Plan | None:
        """Return the frozen plan, None for a new set."""
        path = self.folder / PLAN
        if not path.exists():
            return None
        try:
            return plans.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError) as error:
            raise LogError(f"{path} is not a plan this launcher reads: {error}.") from error

    def freeze(self, plan: Plan, hyperparameters: str) -> None:
        """Write the plan and what it was made with; the plan last, since it makes the set real."""
        write(self.folder / HYPERPARAMETERS, hyperparameters.encode())
        write(self.folder / PLAN, plans.dumps(plan).encode())

    def open_ledger(self) -> tuple[ledger.Record, ...]:
        """Read the ledger to go on with it; a last line torn by a crash is cut off, and told.

        Raises LogError when anything else is wrong with it: such a set cannot be continued.
        """
        path = self.folder / LEDGER
        text = path.read_bytes() if path.exists() else b""
        whole, _, torn = text.rpartition(b"\n")
        chain = ledger.verify(whole + b"\n" if whole else b"")
        if not chain.intact:
            raise LogError(
                f"{path}: {chain.faults[0]}; this run set cannot be continued: keep it as it is "
                "and start another with --results."
            )
        self._last = chain.records[-1] if chain.records else None
        if not torn:
            return chain.records
        with told(path), path.open("r+b") as file:
            file.truncate(len(text) - len(torn))
            os.fsync(file.fileno())
        shown = torn.decode("utf-8", "backslashreplace")
        return (*chain.records, self.append("repair", torn=shown, torn_bytes=len(torn)))

    def append(self, event: str, **payload: object) -> ledger.Record:
        """Add one record to the ledger; it is on disk when this returns."""
        record = ledger.append(self._last, time=now(), event=event, payload=payload)
        path = self.folder / LEDGER
        fresh = not path.exists()
        size = 0 if fresh else path.stat().st_size
        with told(path), path.open("ab", buffering=0) as file:
            try:
                write_all(file, ledger.dumps(record).encode())
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)  # a half record would look like a crash
                raise
        if fresh:
            _sync(self.folder)
        self._last = record
        return record

    def open_log(self, number: int) -> BinaryIO:
        """Create the log of a run that starts now; unbuffered, so that nothing waits in memory."""
        files = self.run(number)
        with told(files.folder):
            (files.folder / OUTPUT).mkdir(parents=True, exist_ok=True)
            log = files.log.open("xb", buffering=0)
            _sync(self.folder)
            return log

    def finish(self, number: int, ended: Mapping[str, Any]) -> None:
        """Write exit.json, which makes the run done, and seal it in the ledger."""
        write(self.run(number).exit, encode(ended))
        self.append("run_end", **ended)

    def ended(self, number: int) -> dict[str, Any] | None:
        """Return exit.json of a run, None while there is none."""
        path = self.run(number).exit
        try:
            return dict(strictjson.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise LogError(f"{path} is not what the launcher wrote: {error}.") from error

    def move_aside(self, number: int) -> int:
        """Keep a start that never reached run_start as attempt_<k>, whole; return k.

        The log goes last, so that a crash in between leaves a run that is moved aside again.
        """
        files = self.run(number)
        attempt = files.attempts
        target = files.folder / f"attempt_{attempt}"
        partial = target.with_suffix(PARTIAL)
        with told(files.folder):
            partial.mkdir(exist_ok=True)
            left = [path for path in files.folder.iterdir() if "attempt_" not in path.name]
            for path in sorted(left, key=lambda path: path == files.log):
                path.rename(partial / path.name)
            partial.rename(target)
            _sync(files.folder)
        return attempt


def encode(values: Mapping[str, Any]) -> bytes:
    """Return readable, sorted JSON."""
    return (json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def write(path: Path, data: bytes) -> None:
    """Replace a file by new content, atomically and durably."""
    aside = path.with_name(path.name + PARTIAL)
    with told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        _sync(path.parent)


def write_all(file: BinaryIO, data: bytes) -> None:
    """Write every byte to an unbuffered file: on a filling disk one write takes less, silently."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


@contextlib.contextmanager
def told(path: Path, *, passing: type[OSError] | tuple[()] = ()) -> Iterator[None]:
    """Turn a failed write into one sentence with a remedy; `passing` has another meaning."""
    try:
        yield
    except passing:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise HostError(
                f"{path}: the disk is full; free some space and start the same command again, "
                "finished runs are kept."
            ) from error
        place = error.filename or path
        raise HostError(f"{place}: cannot be written: {error.strerror}.") from error


def _sync(folder: Path) -> None:
    """Make renames and new names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
