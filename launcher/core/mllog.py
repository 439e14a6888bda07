"""Bytes of a training log to Events, and a list of everything in it that is odd or unusable.

It is handed bytes, in pieces of any size; it never opens a file, and keeps no more of the log than
one unfinished line of at most MAX_LINE bytes. What it accepts is what mlperf-logging 4.1.68 sees,
plus the records that package loses in silence: those are used and listed.
"""

import enum
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

MAX_LINE = 1 << 20  # bytes of one record, or of an unfinished line that may hold one
MAX_ON_A_LINE = 100  # records; what follows them on the same line is not read
MAX_LISTED = 1000  # oddities listed with their line; the rest is only counted
EXCERPT = 120  # bytes of a line that an oddity quotes

_STEM = b":::MLL"
_TOKEN = b":::MLLOG "


class Oddity(enum.Enum):
    """What can be wrong with a record. The value is how a reader is told."""

    BROKEN_JSON = "is not valid JSON, perhaps cut short"
    NOT_A_RECORD = "is JSON, but not an object with a key"
    BAD_TIME = "has no usable time_ms"
    OLD_FORM = "is not in the ':::MLLOG {json}' form and is ignored by mlperf-logging"
    TOO_LONG = "is longer than 1 MiB"
    TOO_MANY = "stands behind 100 others on its line"
    SEVERAL_ON_A_LINE = "shares its line with an earlier record, which mlperf-logging loses"
    TEXT_AFTER = "is followed by other text on its line, which mlperf-logging rejects"
    TEXT_BEFORE = "is glued behind other text"
    NESTED = "holds a ':::MLL' inside, which mlperf-logging takes for the record"
    MISSING_FIELD = "lacks a value or metadata, on which mlperf-logging stops"
    ODD_METADATA = "has metadata that is not an object"
    NOT_A_NUMBER = "holds NaN or Infinity, which is not JSON"
    NOT_UTF8 = "is not UTF-8"

    @property
    def lost(self) -> bool:
        """Say whether the record could not be used at all."""
        return self in _LOST


_LOST = {
    Oddity.BROKEN_JSON,
    Oddity.NOT_A_RECORD,
    Oddity.BAD_TIME,
    Oddity.OLD_FORM,
    Oddity.TOO_LONG,
    Oddity.TOO_MANY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One MLLOG record. `value` is as logged, of any JSON type; `metadata` is {} where odd."""

    line: int  # physical line, from 1
    time_ms: float
    key: str
    value: Any
    metadata: Mapping[str, Any]
    event_type: str = "POINT_IN_TIME"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicious:
    """One record that is odd or unusable, with the place and an excerpt."""

    line: int
    oddity: Oddity
    excerpt: str

    def __str__(self) -> str:
        """Return one sentence without the file's name."""
        return f"line {self.line}: this record {self.oddity.value}: {self.excerpt!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """A whole log, read. Memory grows with the events asked for."""

    events: tuple[Event, ...]
    suspicious: tuple[Suspicious, ...]
    oddities: Mapping[Oddity, int]  # how often each; suspicious lists the first MAX_LISTED
    lines: int


# A record as mlperf-logging's own writer spells it, alone on its line. Matching proves that it is
# well formed, so that a record nobody asked for need not be decoded. Possessive: no backtracking.
_STRING = rb'"[ !#-\[\]-~]*+"'
_SCALAR = rb"(?:" + _STRING + rb"|-?(?:0|[1-9]\d*+)(?:\.\d++)?(?:[eE][+-]?\d++)?|true|false|null)"
_PAIR = _STRING + rb": " + _SCALAR
_FLAT = rb"\{(?:" + _PAIR + rb"(?:, " + _PAIR + rb")*+)?\}"
_PLAIN = re.compile(
    rb':::MLLOG \{"namespace": ' + _STRING + rb', "time_ms": [1-9]\d{0,13}, "event_type": '
    rb'"[A-Z_]++", "key": "([!#-\[\]-~]++)", "value": (?:' + _SCALAR + rb"|" + _FLAT + rb"), "
    rb'"metadata": ' + _FLAT + rb"\}[ \t]*+\r?\n"
)
# "0: ", " 12: ", "[3] ": what launchers put in front of a rank's lines.
_RANK_PREFIX = re.compile(rb"[ \t]*+(?:\[?\d++\]?:? ?)?+[ \t]*+")
_NOTHING_AFTER = re.compile(rb"[ \t\v\f\n]*+(?:\r|:::MLL|\Z)")
_LATEST_MS = 1e14  # the year 5138: one digit too many is not a time
_NEWLINE = 10


class Reader:
    """Reads a log that may still be growing.

    `keys` limits the events to these keys; records of others are checked and counted. `lines`
    counts finished lines and `records` good records; `oddities` counts and `suspicious` lists what
    was found so far. Events do not depend on how the bytes are cut into pieces.
    """

    def __init__(self, keys: Iterable[str] | None = None) -> None:
        self.lines = 0
        self.records = 0
        self.oddities: Counter[Oddity] = Counter()
        self.suspicious: list[Suspicious] = []
        self._keys = None if keys is None else frozenset(key.encode() for key in keys)
        self._decoder = json.JSONDecoder(parse_constant=self._note_constant)
        self._odd_constant = False
        self._tail = bytearray()  # the unfinished last line, or its end
        self._torn = False  # the tail's line began before the tail
        self._on_line = 0  # records of that line so far

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes and return the events of every line they complete."""
        cut = data.rfind(b"\n") + 1
        events: list[Event] = []
        if cut:
            self._read(bytes(self._tail) + data[:cut], events)
            self._tail.clear()
            self._torn, self._on_line = False, 0
        self._tail += data[cut:]
        if len(self._tail) > MAX_LINE:
            self._shorten(events)
        return events

    def close(self) -> list[Event]:
        """Return the events of a last line without a line end."""
        return self.feed(b"\n") if self._tail or self._torn else []

    def log(self, events: Iterable[Event] = ()) -> Log:
        """Return what was found so far, with the events the caller kept."""
        return Log(
            events=tuple(events),
            suspicious=tuple(self.suspicious),
            oddities=dict(self.oddities),
            lines=self.lines,
        )

    def _read(self, block: bytes, events: list[Event]) -> None:
        """Read whole lines; the first may be torn."""
        position = counted = 0
        while (at := block.find(_STEM, position)) >= 0:
            position = self._skip(block, at)
            if position == at:
                self.lines += block.count(b"\n", counted, at)
                counted = at
                position = block.find(b"\n", at)
                self._read_line(block[block.rfind(b"\n", 0, at) + 1 : position], events)
                self._torn, self._on_line = False, 0
        self.lines += block.count(b"\n", counted)

    def _skip(self, block: bytes, at: int) -> int:
        """Return where a well-formed record that nobody asked for ends; else `at`."""
        if self._keys is None or (at and block[at - 1] != _NEWLINE):
            return at
        record = _PLAIN.match(block, at)
        if record is None or record[1] in self._keys or block.count(_STEM, *record.span()) > 1:
            return at
        self.records += 1
        return record.end()

    def _read_line(self, line: bytes, events: list[Event]) -> None:
        """Read every record of a line that holds at least one `:::MLL`."""
        at = line.find(_STEM)
        if self._torn or not _RANK_PREFIX.fullmatch(line, line.rfind(b"\r", 0, at) + 1, at):
            self._note(Oddity.TEXT_BEFORE, line)
        while at >= 0:
            if self._on_line == MAX_ON_A_LINE:
                return self._note(Oddity.TOO_MANY, line[at : at + EXCERPT])
            self._on_line += 1
            end = self._read_record(line, at, events)
            at = line.find(_STEM, end)
            if b"\r" in line[end : max(at, 0)]:  # mlperf-logging takes that for a line end, too
                self._on_line = 0
            elif at >= 0:
                self._note(Oddity.SEVERAL_ON_A_LINE, line[at : at + EXCERPT])
        return None

    def _read_record(self, line: bytes, at: int, events: list[Event]) -> int:
        """Read the record at `at`; return where to look for the next one."""
        after_stem = at + len(_STEM)
        if not line.startswith(_TOKEN, at):
            self._note(Oddity.OLD_FORM, line[at : at + EXCERPT])
            return after_stem
        stop = line.find(b"\r", at, at + MAX_LINE)
        window = line[at + len(_TOKEN) : stop if stop >= 0 else at + MAX_LINE]
        try:
            record, size = self._decode(window)
        except (ValueError, RecursionError):
            whole = stop >= 0 or at + MAX_LINE >= len(line)
            self._note(Oddity.BROKEN_JSON if whole else Oddity.TOO_LONG, line[at : at + EXCERPT])
            return after_stem
        end = at + len(_TOKEN) + size
        raw = line[at:end]
        if raw.count(_STEM) > 1:
            self._note(Oddity.NESTED, raw)
        if not _NOTHING_AFTER.match(line, end):
            self._note(Oddity.TEXT_AFTER, raw)
        self._add(record, raw, events)
        return end

    def _decode(self, window: bytes) -> tuple[Any, int]:
        """Return the JSON value that `window` begins with, and its size in bytes."""
        text = window.decode("latin-1")  # one character a byte
        blanks = len(text) - len(text.lstrip(" \t"))
        self._odd_constant = False
        record, end = self._decoder.raw_decode(text, blanks)
        raw = window[blanks:end]
        if self._odd_constant:
            self._note(Oddity.NOT_A_NUMBER, raw)
        if not raw.isascii():
            try:
                record = json.loads(raw.decode())
            except UnicodeDecodeError:
                self._note(Oddity.NOT_UTF8, raw)
        return record, end

    def _note_constant(self, name: str) -> float:
        self._odd_constant = True
        return float(name)

    def _add(self, record: Any, raw: bytes, events: list[Event]) -> None:  # noqa: ANN401 - any JSON
        """Append the event that a decoded record stands for; note what it lacks."""
        if not isinstance(record, dict) or not isinstance(record.get("key"), str):
            return self._note(Oddity.NOT_A_RECORD, raw)
        if not _is_time(record.get("time_ms")):
            return self._note(Oddity.BAD_TIME, raw)
        metadata, kind = record.get("metadata"), record.get("event_type")
        if "value" not in record or "metadata" not in record:
            self._note(Oddity.MISSING_FIELD, raw)
        elif not isinstance(metadata, dict):
            self._note(Oddity.ODD_METADATA, raw)
        self.records += 1
        if self._keys is not None and record["key"].encode(errors="replace") not in self._keys:
            return None
        event = Event(
            line=self.lines + 1,
            time_ms=record["time_ms"],
            key=record["key"],
            value=record.get("value"),
            metadata=metadata if isinstance(metadata, dict) else {},
            event_type=kind if isinstance(kind, str) else "",
        )
        return events.append(event)

    def _shorten(self, events: list[Event]) -> None:
        """Read what an overlong unfinished line holds so far and forget all that can be."""
        line, start = bytes(self._tail), 0
        while len(line) - start > MAX_LINE:
            at = line.find(_STEM, start)
            if b"\r" in line[start : max(at, start)]:
                self._on_line = 0
            if at < 0 or self._on_line == MAX_ON_A_LINE:
                start = len(line) + 1 - len(_STEM)  # a token may have begun
            elif at > start:
                start = at
            else:
                start = self._read_record(line, at, events)
                self._on_line += 1
        self._torn = True
        self._tail = bytearray(line[start:])

    def _note(self, oddity: Oddity, raw: bytes) -> None:
        self.oddities[oddity] += 1
        if len(self.suspicious) < MAX_LISTED:
            excerpt = raw[:EXCERPT].decode("utf-8", "replace").rstrip()
            self.suspicious.append(Suspicious(line=self.lines + 1, oddity=oddity, excerpt=excerpt))


def read(pieces: Iterable[bytes], keys: Iterable[str] | None = None) -> Log:
    """Read a whole log, given in pieces of any size."""
    reader = Reader(keys)
    events = [event for piece in pieces for event in reader.feed(piece)]
    events += reader.close()
    return reader.log(events)


def _is_time(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value < _LATEST_MS
