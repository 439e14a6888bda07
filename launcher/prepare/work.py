"""Units of long work -> files under their final names, in parallel, whatever kills the launcher.

Each unit writes into a staging folder; its files are then renamed to their final names and a
receipt is written, last and atomically. A later start skips units with a receipt and does the
others again, so an interrupted result equals an undisturbed one. Nothing unfinished ever has a
final name. It knows nothing about what the units make.
"""

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from launcher import dataset
from launcher.dataset import DataFile
from launcher.errors import ConfigError, HostError
from launcher.prepare.progress import Meter, Report, silent

T = TypeVar("T")
MEMORY = Path("/proc/meminfo")
STATE = ".prepare"  # below the destination; gone when the work is complete


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One restartable piece of work; `arguments` must pickle."""

    name: str
    bytes: int  # of input, for progress
    arguments: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a finished unit made."""

    files: tuple[DataFile, ...] = ()
    samples: int = 0
    content: str = "0" * 64  # partial sum of dataset.ContentDigest
    statistics: Mapping[str, Any] = field(default_factory=dict)


Build = Callable[[Unit, Path], Receipt]  # writes below the staging folder it is given


def require_space(root: Path, needed_bytes: int, what: str) -> None:
    """Raise HostError, with the figures, when what is still to be made cannot fit."""
    place = next(path for path in (root, *root.parents) if path.exists())
    free = shutil.disk_usage(place).free
    there = sum(path.lstat().st_size for path in root.rglob("*") if path.is_file())
    if free + there < needed_bytes:
        missing = (needed_bytes - there) / 1e9
        raise HostError(
            f"{root}: {what} needs {missing:,.1f} GB more and {free / 1e9:,.1f} GB are free; "
            "free some or give another --data."
        )


@contextlib.contextmanager
def claimed(root: Path, source: Mapping[str, Any]) -> Iterator[Path]:
    """Hold the destination for one launcher and one source; yield its state folder.

    Raises ConfigError when another launcher works there, or an earlier start used another source.
    The state is removed when the block ends well and kept for the next start otherwise.
    """
    state = root / STATE
    (state / "receipts").mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"{root}: another launcher is preparing data there; wait for it to end."
            ) from error
        _same_source(root, state, source)
        for leftover in state.glob("partial-*"):
            shutil.rmtree(leftover)
        yield state
        shutil.rmtree(state)


def _same_source(root: Path, state: Path, source: Mapping[str, Any]) -> None:
    text = json.dumps(source, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    path = state / "source.json"
    begun = any((state / "receipts").iterdir()) or any(p.name != STATE for p in root.iterdir())
    if not path.exists() or not begun:
        write_atomically(path, text)
    elif (before := path.read_text(encoding="utf-8")) != text:
        told = _changed(json.loads(before), source)
        raise ConfigError(
            f"{root}: was begun from another source ({told} changed, see {path}); "
            f"give that source again or remove {root}."
        )


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Name what tells one source from another."""
    keys = sorted(before.keys() | now.keys())
    return ", ".join(key for key in keys if before.get(key) != now.get(key))


def write_atomically(path: Path, text: str) -> None:
    """Write a text file that is whole or not there, and on disk when this returns."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """Where the work goes, how many processes share it and who hears how far it is."""

    root: Path
    workers: int = 1
    report: Report = silent


def text_place(root: Path) -> Path:
    """Return where the text of a dump lies while it is made into the data set at `root`."""
    return root.absolute().with_name(f"{root.name}.text")


def bounded(crew: Crew, bytes_per_worker: int) -> Crew:
    """Return the crew with no more workers than there is memory for; at least one."""
    for line in MEMORY.read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            fit = int(line.split()[1]) * 1024 // bytes_per_worker
            return dataclasses.replace(crew, workers=max(1, min(crew.workers, fit)))
    return crew


def run(step: str, units: Sequence[Unit], build: Build, crew: Crew) -> list[Receipt]:
    """Do all units that have no receipt yet; return the receipts of all, in their order."""
    receipts: dict[str, Receipt | None] = {u.name: _load(crew.root, u) for u in units}
    finished = [unit for unit in units if receipts[unit.name] is not None]
    make = functools.partial(_do, crew.root, build)
    for unit, made in each(step, units, make, crew.workers, crew.report, finished=finished):
        receipts[unit.name] = made
    return [receipt for unit in units if (receipt := receipts[unit.name]) is not None]


def each(
    step: str,
    units: Sequence[Unit],
    make: Callable[[Unit], T],
    workers: int,
    report: Report,
    *,
    finished: Sequence[Unit] = (),
) -> Iterator[tuple[Unit, T]]:
    """Yield every unit that is not finished with what `make` returns for it, as they end."""
    total = sum(unit.bytes for unit in units)
    meter = Meter(step, total=len(units), bytes_total=total, report=report)
    meter.resume(len(finished), sum(unit.bytes for unit in finished))
    done = {unit.name for unit in finished}
    todo = [unit for unit in units if unit.name not in done]
    parallel = min(workers, len(todo)) > 1
    for unit, result in _shared(todo, make, workers) if parallel else _alone(todo, make):
        meter.add(1, unit.bytes)
        yield unit, result


def _alone(units: Sequence[Unit], make: Callable[[Unit], T]) -> Iterator[tuple[Unit, T]]:
    for unit in units:
        yield unit, make(unit)


def _shared(
    units: Sequence[Unit], make: Callable[[Unit], T], workers: int
) -> Iterator[tuple[Unit, T]]:
    context = multiprocessing.get_context("spawn")  # forking a process with threads is unsafe
    with ProcessPoolExecutor(
        min(workers, len(units)), context, initializer=_die_with, initargs=(os.getpid(),)
    ) as pool:
        futures = {pool.submit(make, unit): unit for unit in units}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise HostError(
                "a worker process was killed, most likely for memory; "
                "start again with fewer --workers: finished work is kept."
            ) from error
        except BaseException:
            _stop(pool)
            raise


def _stop(pool: ProcessPoolExecutor) -> None:
    """End the workers now: what they hold is unfinished and would be done again anyway."""
    pool.shutdown(wait=False, cancel_futures=True)
    for process in multiprocessing.active_children():
        process.terminate()


def _die_with(parent: int) -> None:
    """Leave no orphan when the launcher is killed, and Ctrl-C to it alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _do(root: Path, build: Build, unit: Unit) -> Receipt:
    staging = root / STATE / f"partial-{os.getpid()}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        receipt = build(unit, staging)
        for file in receipt.files:
            _publish(staging / file.path, root / file.path)
    except OSError as error:
        raise HostError(f"{unit.name}: {error}; start again when that is mended.") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    text = json.dumps(dataclasses.asdict(receipt), sort_keys=True)
    path = _receipt_path(root, unit)
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, text)
    return receipt


def _publish(made: Path, final: Path) -> None:
    final.parent.mkdir(parents=True, exist_ok=True)
    with made.open("rb+") as file:
        os.fsync(file.fileno())
    made.replace(final)


def _receipt_path(root: Path, unit: Unit) -> Path:
    safe = unit.name.replace("/", "+")
    return root / STATE / "receipts" / f"{safe}.json"


def _load(root: Path, unit: Unit) -> Receipt | None:
    try:
        fields = json.loads(_receipt_path(root, unit).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    files = tuple(DataFile(**file) for file in fields["files"])
    for file in files:
        path = root / file.path
        if not path.exists() or path.stat().st_size != file.bytes:
            return None
    return Receipt(**{**fields, "files": files})


def verify_download(unit: Unit, _staging: Path) -> Receipt:
    """Check one source file against the md5 its publisher names; arguments: path, md5."""
    path, expected = unit.arguments
    with Path(path).open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != expected:
        raise ConfigError(
            f"{path}: md5 is {found}, published is {expected}; download the file again."
        )
    return Receipt(statistics={"md5": found})


def split(name: str, receipts: Sequence[Receipt]) -> dataset.Split:
    """Add up the receipts of one split."""
    digest = dataset.ContentDigest()
    for receipt in receipts:
        digest.merge(receipt.content)
    return dataset.Split(
        name=name,
        samples=sum(receipt.samples for receipt in receipts),
        content=digest.hex(),
        files=tuple(file for receipt in receipts for file in receipt.files),
    )
