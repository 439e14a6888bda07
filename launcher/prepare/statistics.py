"""Manifest -> the figures and the picture of `data stats`; and one measurement of the storage.

Everything but the measurement comes from the manifest, so it takes no time on any data set.
"""

import concurrent.futures
import functools
import html
import os
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launcher.dataset import Form, Manifest
from launcher.errors import HostError

PAGE = 4096  # bytes
CHUNK = 8 << 20
READERS = 8  # a training program reads with several threads too
BINS = 16  # of the printed distribution of lengths
WIDTH, HEIGHT, MARGIN = 640, 220, 36  # of one chart, pixels
Histogram = Sequence[tuple[int, int]]  # lower edge of the bin, number


def describe(manifest: Manifest) -> dict[str, Any]:
    """Return sizes, distributions and packing of a data set."""
    sizes = [file.bytes for file in manifest.every_file]
    figures: dict[str, Any] = {
        "benchmark": manifest.benchmark.value,
        "form": manifest.form.value,
        "files": len(sizes),
        "bytes": sum(sizes),
        "pages": sum(-(-size // PAGE) for size in sizes),
    }
    for split in manifest.splits:
        stored = sum(file.bytes for file in split.files)
        figures[split.name] = {
            "samples": split.samples,
            "bytes": stored,
            "mean_bytes": round(stored / max(split.samples, 1)),
            **_details(manifest, split.name),
        }
    return figures


def _details(manifest: Manifest, split: str) -> dict[str, Any]:
    known = manifest.statistics.get(split)
    if not isinstance(known, Mapping):
        return {}
    if manifest.form is Form.ROWS:
        return _packing(known)
    bins = {name: dict(_bins(known[name])) for name in ("kilobytes", "short_side")}
    return {**bins, "oddities": known["oddities"]}


def _packing(known: Mapping[str, Any]) -> dict[str, Any]:
    lengths = known["lengths"]
    number = sum(lengths)
    tokens = sum(length * count for length, count in enumerate(lengths))
    places = known["rows"] * known["row_length"]
    return {
        "rows": known["rows"],
        "sequences_per_row": round(number / max(known["rows"], 1), 4),
        "padding": round(1 - tokens / max(places, 1), 5),
        "mean_length": round(tokens / max(number, 1), 2),
        "masked_per_sequence": round(known["masked"] / max(number, 1), 2),
        "lengths": dict(_length_bins(lengths)),
    }


def _length_bins(lengths: Sequence[int]) -> Histogram:
    width = max(1, -(-(len(lengths) - 1) // BINS))
    starts = range(1, len(lengths), width)
    return [(start, sum(lengths[start : start + width])) for start in starts]


def _bins(stored: Mapping[str, int]) -> Histogram:
    return sorted((int(edge), number) for edge, number in stored.items())


def measure_storage(root: Path, manifest: Manifest, *, seconds: float) -> dict[str, Any]:
    """Read random pieces past the page cache for some seconds; say how long all would take.

    Pages in the cache are dropped piece by piece before they are read (posix_fadvise), which needs
    no privilege. Raises HostError when the files cannot be read.
    """
    pieces = [
        (root / file.path, start)
        for file in manifest.every_file
        for start in range(0, max(file.bytes, 1), CHUNK)
    ]
    random.shuffle(pieces)
    begin = time.monotonic()
    deadline = begin + seconds
    try:
        with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
            done = sum(pool.map(functools.partial(_cold_read, deadline), pieces))
    except OSError as error:
        raise HostError(f"{root}: cannot be read ({error}); mend the storage.") from error
    rate = done / (time.monotonic() - begin)
    total = sum(file.bytes for file in manifest.every_file)
    return {
        "measured_bytes": done,
        "measured_bytes_per_s": round(rate),
        "expected_cold_read_s": round(total / max(rate, 1), 2),
    }


def _cold_read(deadline: float, piece: tuple[Path, int]) -> int:
    path, start = piece
    if time.monotonic() > deadline:
        return 0
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, start, CHUNK, os.POSIX_FADV_DONTNEED)
        return len(os.pread(descriptor, CHUNK, start))
    finally:
        os.close(descriptor)


def table(figures: Mapping[str, Any], indent: str = "") -> list[str]:
    """Return the figures as lines for a reader."""
    lines = []
    for name, value in figures.items():
        if isinstance(value, Mapping):
            lines.append(f"{indent}{name}")
            lines += table(value, indent + "  ")
        else:
            shown = f"{value:,}" if isinstance(value, int | float) else value
            lines.append(f"{indent}{name:<22} {shown:>18}")
    return lines


def draw(manifest: Manifest) -> str:
    """Return the distributions of every split as one SVG picture."""
    charts = []
    for split in manifest.splits:
        known = manifest.statistics.get(split.name)
        if not isinstance(known, Mapping):
            continue
        if manifest.form is Form.ROWS:
            charts.append((f"{split.name}: tokens of a sequence", _length_bins(known["lengths"])))
        else:
            charts.append((f"{split.name}: kilobytes of an image", _bins(known["kilobytes"])))
            charts.append((f"{split.name}: short side, pixels", _bins(known["short_side"])))
    title = f"{manifest.benchmark.facts.title}{' - REHEARSAL' if manifest.rehearsal else ''}"
    body = "".join(
        f'<g transform="translate(0,{30 + number * HEIGHT})">{_chart(*chart)}</g>'
        for number, chart in enumerate(charts)
    )
    height = 30 + HEIGHT * len(charts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="{MARGIN}" y="20" font-size="14">{html.escape(title)}</text>{body}</svg>\n'
    )


def _chart(caption: str, bins: Histogram) -> str:
    most = max((number for _, number in bins), default=0) or 1
    step = (WIDTH - 2 * MARGIN) / max(len(bins), 1)
    room = HEIGHT - 2 * MARGIN
    parts = [f'<text x="{MARGIN}" y="14">{html.escape(caption)} (highest bar: {most:,})</text>']
    for place, (edge, number) in enumerate(bins):
        x, tall = MARGIN + place * step, room * number / most
        parts.append(
            f'<rect x="{x:.1f}" y="{MARGIN + room - tall:.1f}" width="{max(step - 1, 0.5):.1f}" '
            f'height="{tall:.1f}" fill="#3b6ea5"><title>{edge}: {number:,}</title></rect>'
        )
        if place % max(1, len(bins) // 8) == 0:
            parts.append(f'<text x="{x:.1f}" y="{MARGIN + room + 14}">{edge}</text>')
    return "".join(parts)
