"""Events of the runs to what a person sees while they last: a live table, or plain lines.

It reads the bytes that pass by and prints; it decides nothing and keeps nothing.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from launcher.core import keys
from launcher.core.benchmark import Benchmark
from launcher.core.mllog import Event, Reader
from launcher.core.result import Result, Status, finite

SHOWN = keys.ALL | {"tracked_stats"}
COLUMNS = ("run", "seed", "state", "", "accuracy", "a second", "elapsed", "ETA")


@dataclass(slots=True, kw_only=True)
class Row:
    """What is known about one run."""

    number: int
    seed: int
    benchmark: Benchmark
    target: float
    state: str = "planned"
    progress: float | None = None  # epochs or samples, at the last evaluation
    accuracy: float | None = None
    throughput: float | None = None  # samples a second
    elapsed_s: float | None = None
    eta_s: float | None = None
    _reader: Reader = field(default_factory=lambda: Reader(SHOWN))
    _started: float | None = None  # monotonic: when run_start was seen

    def feed(self, data: bytes) -> bool:
        """Take stdout as it comes; say whether there is a new accuracy or a change of state."""
        return self.take(self._reader.feed(data))

    def take(self, events: Iterable[Event]) -> bool:
        """Take events; say whether something changed that a plain line should tell."""
        told = False
        for event in events:
            if event.key == "run_start":
                self._started, self.state, told = time.monotonic(), "training", True
            elif event.key == keys.ACCURACY:
                self._note(event)
                told = True
            elif event.key == "tracked_stats" and isinstance(event.value, dict):
                value = event.value.get("throughput")
                self.throughput = value if finite(value) else self.throughput
        return told

    def show(self, result: Result) -> None:
        """Take over what a finished or growing log says."""
        self.state = result.status.value
        self.progress, self.accuracy = result.progress, result.accuracy
        elapsed = result.elapsed
        self.elapsed_s = None if elapsed is None else 60 * float(elapsed)
        self.eta_s = self._started = None

    def tick(self, expected: float | None) -> None:
        """Move the clock on; `expected` is the progress at which such runs converge."""
        if self._started is None:
            return
        self.elapsed_s = time.monotonic() - self._started
        if expected and self.progress and self.progress > 0:
            self.eta_s = max(0.0, self.elapsed_s * expected / self.progress - self.elapsed_s)

    def _note(self, event: Event) -> None:
        progress = event.metadata.get("epoch_num", event.metadata.get("samples_count"))
        if finite(progress) and finite(event.value):
            self.progress, self.accuracy = float(progress), float(event.value)

    def cells(self) -> tuple[str, ...]:
        """Return the row's texts, as a line says them."""
        unit = self.benchmark.facts.convergence_unit
        return (
            str(self.number),
            str(self.seed),
            self.state,
            "" if self.progress is None else f"{self.progress:,.10g} {unit}",
            "" if self.accuracy is None else f"{self.accuracy:.4f}",
            f"{self.target:.4f}",
            "" if self.throughput is None else f"{self.throughput:,.0f}",
            duration(self.elapsed_s),
            duration(self.eta_s),
        )


def duration(seconds: float | None) -> str:
    """Return h:mm:ss, or nothing for nothing."""
    if seconds is None or not finite(seconds):
        return ""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def remaining_s(rows: Iterable[Row]) -> float | None:
    """Return how long the set will still take, by the runs that are done; None while none is."""
    done, left, current = [], 0, 0.0
    for row in rows:
        if row.state in (Status.SUCCESS.value, Status.ABORTED.value) and row.elapsed_s:
            done.append(row.elapsed_s)
        elif row.state == "planned":
            left += 1
        else:
            current += row.eta_s or 0.0
    if not done or not (left or current):
        return None
    return current + left * sum(done) / len(done)


def expected_progress(rows: Iterable[Row]) -> float | None:
    """Return the mean epochs or samples at which this set's runs converged; None while none did."""
    reached = [row.progress for row in rows if row.state == Status.SUCCESS.value and row.progress]
    return sum(reached) / len(reached) if reached else None


def table(title: str, rows: Sequence[Row]) -> Table:
    """Return the rows as a table for a terminal."""
    left = remaining_s(rows)
    caption = None if left is None else f"about {duration(left)} of training to go"
    unit = rows[0].benchmark.facts.convergence_unit if rows else ""
    aim = f", to an accuracy of {rows[0].target:g}" if rows else ""
    shown = Table(
        title=Text(f"{title}{aim}"),
        title_justify="left",
        caption=caption,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for name in COLUMNS:  # 80 characters wide at most: a terminal's width is not to be guessed
        shown.add_column(name or unit, justify="left" if name == "state" else "right", no_wrap=True)
    for row in rows:
        number, seed, state, progress, accuracy, _, *rest = row.cells()
        short = (state.partition(" ")[0], progress.partition(" ")[0])
        shown.add_row(number, seed, *short, accuracy, *rest)
    return shown


def _unwatched() -> AbstractContextManager[None]:
    """Let nothing end a run because nobody looks any more: rich exits on a broken pipe."""
    return suppress(OSError, SystemExit)


class Board:
    """Shows the rows of a run set while it runs."""

    def __init__(
        self, title: str, rows: list[Row], *, expected: float | None, console: Console
    ) -> None:
        self.rows = rows
        self._title = title
        self._expected = expected
        self._console = console
        self._live: Live | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keep the table on a terminal; elsewhere lines are printed as things happen."""
        if not self._console.is_terminal:
            yield
            return
        self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=2)
        try:
            with _unwatched():
                self._live.start()
            yield
        finally:
            with _unwatched():
                self._live.stop()
            self._live = None

    def say(self, text: str) -> None:
        """Print one line, above the table where there is one."""
        with _unwatched():
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def feed(self, number: int) -> Callable[[bytes], None]:
        """Return what takes the stdout of one run."""
        row = self.rows[number]

        def take(data: bytes) -> None:
            if row.feed(data):
                self._tell(row)

        return take

    def state(self, number: int, state: str) -> None:
        """Say how a run stands."""
        self.rows[number].state = state
        self._tell(self.rows[number])

    def ended(self, number: int, result: Result) -> None:
        """Show what a finished log says."""
        self.rows[number].show(result)
        self._tell(self.rows[number])

    def _tell(self, row: Row) -> None:
        if self._live is not None:
            return
        row.tick(self._expected or expected_progress(self.rows))
        names = ("run", "seed", "", "", "accuracy", "of", "per second", "after", "ETA")
        pairs = zip(names, row.cells(), strict=True)
        self.say("  ".join(f"{name} {cell}".strip() for name, cell in pairs if cell))

    def _table(self) -> Table:
        expected = self._expected or expected_progress(self.rows)
        for row in self.rows:
            row.tick(expected)
        return table(self._title, self.rows)
