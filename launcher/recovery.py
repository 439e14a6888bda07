"""What a crashed launcher left to a run set that can be continued.

Containers still there are stopped, their output completed from the engine's copy, and their end
sealed; starts that never reached run_start are moved aside for a repeat. Nothing is deleted.
"""

import dataclasses
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from launcher.core import result
from launcher.core.ledger import Record
from launcher.core.plan import Plan
from launcher.core.result import Result
from launcher.engine.base import LABEL, Ended, Engine, Exit
from launcher.engine.frames import Differs, Tally
from launcher.filetree import sha256
from launcher.progress import Board
from launcher.runset import pieces
from launcher.store import PARTIAL, STDERR, Store, now, told

_NAME = re.compile(r"-run-(\d+)-(\d+)$")


class Recovery:
    """Mends one run set before its next run."""

    def __init__(self, store: Store, plan: Plan, engine: Engine, board: Board) -> None:
        self._store = store
        self._plan = plan
        self._engine = engine
        self._board = board

    def mend(self, records: Sequence[Record]) -> None:
        """Bring every run to one of two states: done, or never started."""
        orphans = self._orphans()
        for number in range(len(self._plan.seeds)):
            files, ended = self._store.run(number), self._store.ended(number)
            if ended is None and (files.log.exists() or number in orphans):
                self._adopt(number, orphans.get(number), records)
            elif ended is not None and not _sealed(records, ended):
                self._store.append("run_end", **ended)
            if number in orphans:
                self._engine.remove(orphans[number])
            if files.log.exists() or files.exit.exists() or files.moving:
                self._set_aside(number, records)

    def _orphans(self) -> dict[int, str]:
        """Return the containers of this set that are still there, by run."""
        wanted = {LABEL: str(self._plan.container["labels"][LABEL])}
        found = {}
        for name in self._engine.orphans(wanted):
            if match := _NAME.search(name):
                found[int(match[1])] = name
        return found

    def _adopt(self, number: int, name: str | None, records: Sequence[Record]) -> None:
        """Seal a run whose launcher died, with its container's output where that is still there."""
        files, seed = self._store.run(number), self._plan.seeds[number]
        start = _last_start(records, number)
        if not files.log.exists():
            self._store.open_log(number).close()
        head = int(start.payload.get("head_bytes", 0)) if start else files.log.stat().st_size
        end = self._collect(number, name, head) if name else _lost(files.log)
        if not end.started_at:
            end = dataclasses.replace(end, started_at=start.time if start else end.finished_at)
        facts = exit_facts(self._store, number, seed, files.attempts, end)
        facts |= {"head_bytes": head, "stopped_by": "the launcher's own end", "elapsed_s": None}
        self._store.finish(number, facts)
        left = "gone"
        if name:
            left = "stopped in its work" if end.ended is Ended.STOPPED else "found at its end"
        self._board.say(
            f"run {number}: an earlier launcher died during it; its container was {left}, its log "
            "is kept as it was."
        )

    def _collect(self, number: int, name: str, head: int) -> Exit:
        """Complete log and stderr of a run from what the engine still has."""
        files = self._store.run(number)
        aside = files.folder / f"collected{PARTIAL}"
        errors = files.folder / f"{STDERR}{PARTIAL}"
        with told(files.folder), aside.open("wb") as out, errors.open("wb") as err:
            end = self._engine.collect(name, on_stdout=out.write, on_stderr=err.write)
        if errors.stat().st_size:
            with told(files.folder):
                errors.replace(files.folder / STDERR)
        agrees = _complete(files.log, head, aside) if aside.stat().st_size else end.log_agrees
        aside.unlink()
        errors.unlink(missing_ok=True)
        return dataclasses.replace(end, log_agrees=agrees)

    def _set_aside(self, number: int, records: Sequence[Record]) -> None:
        """Keep a start that never reached run_start as an attempt; the run is made again."""
        if read_result(self._store, number, self._plan).start_ms is not None:
            return
        attempt = self._store.run(number).attempts
        told = [record.payload for record in records if record.event == "run_repeat"]
        if not any(entry["run"] == number and entry["attempt"] == attempt for entry in told):
            reason = "never reached run_start"
            self._store.append("run_repeat", run=number, attempt=attempt, reason=reason)
        self._store.move_aside(number)
        self._board.say(f"run {number}: its last start never reached run_start; it is repeated.")


def exit_facts(store: Store, number: int, seed: int, attempt: int, end: Exit) -> dict[str, Any]:
    """Return what exit.json says of one run."""
    log = store.run(number).log
    return {
        "run": number,
        "seed": seed,
        "attempt": attempt,
        "ended": end.ended.value,
        "exit_code": end.exit_code,
        "container_id": end.container_id,
        "started_at": end.started_at,
        "finished_at": end.finished_at,
        "oom_killed": end.oom_killed,
        "log": log.name,
        "log_bytes": log.stat().st_size,
        "log_sha256": sha256(log),
        "log_agrees": end.log_agrees,
    }


def read_result(store: Store, number: int, plan: Plan, target: float | None = None) -> Result:
    """Return what the log of a run says so far; of a run without a log, nothing."""
    name, log = f"run_{number}", store.run(number).log
    content = pieces(log) if log.exists() else iter(())
    return result.read(name, content, benchmark=plan.benchmark, target=target)[0]


def _sealed(records: Sequence[Record], ended: dict[str, Any]) -> bool:
    return any(record.event == "run_end" and record.payload == ended for record in records)


def _last_start(records: Sequence[Record], number: int) -> Record | None:
    starts = (r for r in records if r.event == "run_start" and r.payload.get("run") == number)
    return next(reversed(list(starts)), None)


def _lost(log: Path) -> Exit:
    """Return the end of a run of which nothing is left but its files."""
    return Exit(
        ended=Ended.LOST,
        exit_code=None,
        container_id="",
        started_at="",
        finished_at=_modified(log) if log.exists() else now(),
        log_agrees=False,
    )


def _modified(path: Path) -> str:
    moment = datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _complete(log: Path, head: int, copy: Path) -> bool:
    """Append to a log what the engine's copy has beyond it; say whether the two agree."""
    tally = Tally()
    for piece in pieces(log, head):
        tally.add(piece)
    try:
        with told(log), log.open("ab") as file:
            for piece in tally.missing(pieces(copy)):
                if not tally.is_own_newline(piece):
                    file.write(piece)
            file.flush()
            os.fsync(file.fileno())
    except Differs:
        return False
    return True
