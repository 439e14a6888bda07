"""The ledger: what happened to a run set, as records that each seal the one before.

It makes the next record from the previous one and checks a chain; it never opens a file and never
asks the clock. A record: {n, time, event, payload, prev_sha256, sha256}, one a line; sha256 is over
the canonical JSON (sorted keys, no blanks, UTF-8) of the other five.
"""

import enum
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from launcher.core import strictjson

GENESIS = "0" * 64  # prev_sha256 of record 0
_FIELDS = {"n", "time", "event", "payload", "prev_sha256", "sha256"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One thing that happened."""

    n: int
    time: str  # ISO 8601, UTC
    event: str
    payload: Mapping[str, Any]
    prev_sha256: str
    sha256: str


class Break(enum.Enum):
    """How a chain can be wrong."""

    TORN = "is cut short, as by a crash while it was written"
    UNREADABLE = "is not a ledger record"
    RESPELT = "is not spelt as the launcher writes it"
    ALTERED = "was altered: its sha256 does not fit its content"
    UNCHAINED = "does not follow the record before it: one was removed, added or moved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One line of a ledger that cannot be trusted."""

    line: int  # from 1
    kind: Break

    def __str__(self) -> str:
        """Return one sentence without the file's name."""
        return f"line {self.line} {self.kind.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A ledger, read: every record that can be read, and every fault."""

    records: tuple[Record, ...]
    faults: tuple[Fault, ...]

    @property
    def intact(self) -> bool:
        """Say whether nothing was altered, removed, added or moved."""
        return not self.faults


def append(previous: Record | None, *, time: str, event: str, payload: Mapping[str, Any]) -> Record:
    """Return the record that follows `previous` (None for the first).

    Raises ValueError or TypeError for a payload that could not be read back.
    """
    n = 0 if previous is None else previous.n + 1
    sealed = GENESIS if previous is None else previous.sha256
    text = json.dumps({"payload": payload}, allow_nan=False)
    clean = strictjson.loads(text)["payload"]  # keys are strings, tuples lists, all as it is read
    return Record(
        n=n,
        time=time,
        event=event,
        payload=clean,
        prev_sha256=sealed,
        sha256=_seal(n, time, event, clean, sealed),
    )


def dumps(record: Record) -> str:
    """Return the line of a record, with its line end."""
    return _canonical({name: getattr(record, name) for name in _FIELDS}) + "\n"


def verify(text: bytes) -> Chain:
    """Read a whole ledger file and check every link."""
    records: list[Record] = []
    faults: list[Fault] = []
    previous = (-1, GENESIS)
    lines = text.split(b"\n")
    for number, line in enumerate(lines[:-1], 1):
        record = _read(line)
        if record is None:
            faults.append(Fault(line=number, kind=Break.UNREADABLE))
            continue
        records.append(record)
        faults += [Fault(line=number, kind=kind) for kind in _breaks(record, line, previous)]
        previous = (record.n, record.sha256)
    if lines[-1]:
        faults.append(Fault(line=len(lines), kind=Break.TORN))
    return Chain(records=tuple(records), faults=tuple(faults))


def _breaks(record: Record, line: bytes, previous: tuple[int, str]) -> Iterable[Break]:
    if _encode(dumps(record)) != line + b"\n":
        yield Break.RESPELT
    seal = _seal(record.n, record.time, record.event, record.payload, record.prev_sha256)
    if seal != record.sha256:
        yield Break.ALTERED
    if (record.n - 1, record.prev_sha256) != previous:
        yield Break.UNCHAINED


def _read(line: bytes) -> Record | None:
    try:
        fields = strictjson.loads(line)
    except ValueError:
        return None
    if not isinstance(fields, dict) or fields.keys() != _FIELDS:
        return None
    texts = (fields[name] for name in ("time", "event", "prev_sha256", "sha256"))
    well_typed = (
        type(fields["n"]) is int
        and isinstance(fields["payload"], dict)
        and all(isinstance(text, str) for text in texts)
    )
    return Record(**fields) if well_typed else None


def _seal(n: int, time: str, event: str, payload: Mapping[str, Any], prev_sha256: str) -> str:
    content = {"n": n, "time": time, "event": event, "payload": payload, "prev_sha256": prev_sha256}
    return hashlib.sha256(_encode(_canonical(content))).hexdigest()


def _canonical(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _encode(text: str) -> bytes:
    return text.encode(errors="surrogatepass")  # a lone surrogate is legal in JSON
