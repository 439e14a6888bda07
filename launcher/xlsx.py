"""Cells of one sheet of a workbook: bytes to values, and new values into the same bytes.

It edits the sheet's XML where a cell stands and copies everything else: every other part of the
workbook keeps its content, and the same input gives the same bytes. It never evaluates a formula,
never expands an entity and never reads more than a fixed number of bytes, since the evaluator's
side hands it files from strangers.
"""

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree as ET
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from launcher.errors import ConfigError

MAX_BYTES = 64 << 20  # of all parts together, unpacked; the RFP's template has 0.7 MB
MAX_PACKED = 16 << 20  # of the file: its list of parts is read whole
MAX_PARTS = 2000
MAX_TEXT = 32_767  # characters in one cell, Excel's own limit

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_LINK = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"

_UNPRINTABLE = re.compile(r"[^\t\n -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# What zipfile was seen to raise on damaged files.
_UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError),
    *(NotImplementedError, RuntimeError, OverflowError, ValueError),
)

Value = str | float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What a cell shows, and the formula behind it where there is one."""

    value: Value
    formula: str | None = None


def cells(workbook: bytes, sheet: str) -> dict[str, Cell]:
    """Return every cell of the named sheet that holds something, by reference ("C8").

    Raises ConfigError when the bytes are no workbook or have no such sheet.
    """
    parts = _parts(workbook)
    strings = _shared_strings(parts)
    found = {}
    for node in _xml(parts, _sheet_part(parts, sheet)).iter(f"{_MAIN}c"):
        cell = _cell(node, strings)
        if cell.value is not None or cell.formula is not None:
            reference = node.get("r", "")
            if reference in found:
                raise ConfigError(f"sheet {sheet!r} of the workbook holds cell {reference} twice.")
            found[reference] = cell
    return found


def write(workbook: bytes, sheet: str, values: Mapping[str, str | float]) -> bytes:
    """Return the workbook with these cells of the sheet set; styles stay, nothing else changes.

    Raises ConfigError when the sheet or one of the cells is not there.
    """
    parts = _parts(workbook)
    part = _sheet_part(parts, sheet)
    edited = _edit(parts[part], sheet, values)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(workbook)) as source, zipfile.ZipFile(out, "w") as target:
        for info in source.infolist():
            content = edited if info.filename == part else parts[info.filename]
            target.writestr(_entry(info), content)
    return out.getvalue()


def _entry(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """Copy name, time and attributes, so that the same input always packs to the same bytes."""
    entry = zipfile.ZipInfo(info.filename, info.date_time)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = info.external_attr
    entry.create_system = info.create_system
    return entry


def _parts(workbook: bytes) -> dict[str, bytes]:
    """Unpack a workbook within limits."""
    if len(workbook) > MAX_PACKED:
        raise ConfigError(f"the workbook is larger than {MAX_PACKED >> 20} MiB; use the RFP's.")
    try:
        with zipfile.ZipFile(io.BytesIO(workbook)) as archive:
            infos = archive.infolist()
            if len({info.filename for info in infos}) < len(infos):
                raise ConfigError(
                    "the workbook holds a part twice; this is not the RFP's template."
                )
            if len(infos) > MAX_PARTS or sum(info.file_size for info in infos) > MAX_BYTES:
                raise ConfigError(
                    f"the workbook unpacks to more than {MAX_PARTS} parts or {MAX_BYTES >> 20} MiB;"
                    " this is not the RFP's template."
                )
            return {info.filename: archive.read(info) for info in infos}
    except _UNREADABLE as error:
        raise ConfigError(f"the workbook cannot be unpacked ({error}); is it an .xlsx?") from error


def _xml(parts: Mapping[str, bytes], name: str) -> ET.Element:
    """Parse one part, refusing document types: they are where entity bombs live."""
    if name not in parts:
        raise ConfigError(f"the workbook has no part {name!r}; is it an .xlsx?")
    try:
        text = parts[name].decode("utf-8-sig")  # other encodings could hide what we look for
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise ConfigError(f"the workbook's part {name!r} declares a document type; refused.")
        return ET.fromstring(text.encode())  # noqa: S314 - no DTD can get here
    except (ET.ParseError, ValueError, LookupError) as error:
        raise ConfigError(f"the workbook's part {name!r} is not XML ({error}).") from error


def _sheet_part(parts: Mapping[str, bytes], sheet: str) -> str:
    """Find the part that holds a sheet, by the sheet's name."""
    book = _xml(parts, "xl/workbook.xml")
    names = {node.get("name"): node.get(_LINK) for node in book.iter(f"{_MAIN}sheet")}
    if sheet not in names:
        have = ", ".join(str(name) for name in names)
        raise ConfigError(f"the workbook has no sheet {sheet!r}, only {have}; use the RFP's.")
    for link in _xml(parts, "xl/_rels/workbook.xml.rels"):
        if link.get("Id") == names[sheet]:
            target = link.get("Target", "")
            return target.lstrip("/") if target.startswith("/") else f"xl/{target}"
    raise ConfigError(f"the workbook's sheet {sheet!r} leads nowhere; the file is damaged.")


def _shared_strings(parts: Mapping[str, bytes]) -> list[str]:
    if "xl/sharedStrings.xml" not in parts:
        return []
    return [
        "".join(text.text or "" for text in item.iter(f"{_MAIN}t"))
        for item in _xml(parts, "xl/sharedStrings.xml").iter(f"{_MAIN}si")
    ]


def _cell(node: ET.Element, strings: list[str]) -> Cell:
    formula = node.find(f"{_MAIN}f")
    raw = node.findtext(f"{_MAIN}v")
    value: Value = raw
    match node.get("t", "n"):
        case "s":
            known = raw is not None and raw.isdecimal() and int(raw) < len(strings)
            value = strings[int(raw)] if known and raw is not None else raw
        case "inlineStr":
            value = "".join(text.text or "" for text in node.iter(f"{_MAIN}t"))
        case "n" if raw is not None:
            value = _number(raw)
    return Cell(value=value, formula=None if formula is None else formula.text or "")


def _number(raw: str) -> Value:
    try:
        return float(raw)
    except ValueError:
        return raw


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """Where a cell's element stands in the sheet's bytes."""

    start: int
    end: int
    attributes: dict[str, str]


def _edit(xml: bytes, sheet: str, values: Mapping[str, str | float]) -> bytes:
    spans = _spans(xml, values.keys())
    if missing := sorted(values.keys() - spans.keys()):
        raise ConfigError(
            f"sheet {sheet!r} of the workbook has no cell {missing[0]}; use the RFP's template."
        )
    for reference, span in sorted(spans.items(), key=lambda item: -item[1].start):
        xml = xml[: span.start] + _element(span.attributes, values[reference]) + xml[span.end :]
    return xml


def _spans(xml: bytes, wanted: Collection[str]) -> dict[str, _Span]:
    """Find cells by expat's byte positions, so that all other bytes can stay as they are."""
    parser = expat.ParserCreate()
    spans: dict[str, _Span] = {}
    stack: list[tuple[int, dict[str, str]]] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if name == "c":
            stack.append((parser.CurrentByteIndex, attributes))

    def end(name: str) -> None:
        if name != "c":
            return
        begin, attributes = stack.pop()
        at = parser.CurrentByteIndex
        closing = xml.startswith(b"</c", at)  # an empty element ends where it ends
        if attributes.get("r", "") in wanted:
            stop = xml.index(b">", at) + 1 if closing else at
            spans[attributes["r"]] = _Span(start=begin, end=stop, attributes=attributes)

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.Parse(xml, True)  # noqa: FBT003 - expat's signature
    return spans


def _element(attributes: Mapping[str, str], value: str | float) -> bytes:
    kept = {name: text for name, text in attributes.items() if name != "t"}
    if isinstance(value, str):
        kept["t"] = "inlineStr"  # the table of shared strings stays untouched
        body = f'<is><t xml:space="preserve">{escape(_printable(value))}</t></is>'
    else:
        body = f"<v>{value!r}</v>"
    names = "".join(f" {name}={quoteattr(text)}" for name, text in kept.items())
    return f"<c{names}>{body}</c>".encode()


def _printable(text: str) -> str:
    """Drop what XML 1.0 cannot hold and what a cell has no room for."""
    return _UNPRINTABLE.sub("", text)[:MAX_TEXT]
