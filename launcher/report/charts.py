"""Runs to pictures: SVG text that takes its colours and its font from the page around it.

Every chart is drawn by matplotlib with stand-in colours, which are then replaced by the page's CSS
variables: one drawing serves light, dark and print. The same numbers give the same bytes.
"""

import hashlib
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Colours that stand for the page's variables. Any would do that a chart never needs for itself.
INK, MUTED, GRID, ACCENT, GOOD, BAD, BAND = (
    "#010101",
    "#020202",
    "#030303",
    "#040404",
    "#050505",
    "#060606",
    "#070707",
)
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    ACCENT: "var(--accent)",
    GOOD: "var(--good)",
    BAD: "var(--bad)",
    BAND: "var(--band)",
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "launcher",
    "font.size": 10.5,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "text.parse_math": False,  # a name may hold a dollar
}
WIDTH = 5.6  # inches of 72 px: readable on a phone and in two columns on a desk


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One run as a chart needs it."""

    label: str
    kind: str  # "scored", "dropped" or "failed"
    x: tuple[float, ...]
    y: tuple[float, ...]


_LINE = {"scored": (ACCENT, "-", 1.3), "dropped": (MUTED, "--", 1.1), "failed": (BAD, ":", 1.5)}
_MARK = {
    "scored": (ACCENT, "o", ACCENT),
    "dropped": (MUTED, "o", "none"),
    "failed": (BAD, "x", BAD),
}


def accuracy(runs: Sequence[Series], target: float, name: str) -> str:
    """Draw accuracy over minutes, one line a run, with the target."""

    def draw(axes: Axes) -> None:
        for run in runs:
            colour, dash, width = _LINE[run.kind]
            axes.plot(run.x, run.y, dash, color=colour, linewidth=width, alpha=0.85)
            axes.plot(run.x[-1:], run.y[-1:], "o", color=colour, markersize=4)
        axes.axhline(target, color=GOOD, linewidth=1.2)
        axes.annotate(f"target {target:g}", (0.01, target), xycoords=("axes fraction", "data"),
                      va="bottom", color=GOOD, fontsize=10)  # fmt: skip
        values = [value for run in runs for value in run.y]
        if values:
            low, high = min(*values, target), max(*values, target)
            axes.set_ylim(low - 0.05 * target, min(high + 0.05 * target, 1.0))
        axes.set_xlabel("minutes since run_start")
        axes.set_ylabel(name)

    return _svg(draw, 3.0)


def times(runs: Sequence[Series], mean: float | None) -> str:
    """Draw each run's minutes as a dot, drops hollow, with the olympic mean."""

    def draw(axes: Axes) -> None:
        for run in runs:
            colour, mark, face = _MARK[run.kind]
            axes.plot(run.x, run.y, mark, color=colour, markerfacecolor=face, markersize=7)
        if mean is not None:
            axes.axvline(mean, color=ACCENT, linewidth=1.2)
            axes.annotate(f"mean {mean:.3f}", (mean, 1.01), xycoords=("data", "axes fraction"),
                          ha="center", color=ACCENT, fontsize=10)  # fmt: skip
        _rows(axes, [run.label for run in runs])
        axes.margins(x=0.12)
        axes.set_xlabel("minutes")

    return _svg(draw, 0.9 + 0.24 * len(runs))


def convergence(
    runs: Sequence[Series], *, reference: float | None, own: float | None, unit: str
) -> str:
    """Draw where each run converged, beside the mean of the reference runs."""

    def draw(axes: Axes) -> None:
        for run in runs:
            colour, mark, face = _MARK[run.kind]
            axes.plot(run.x, run.y, mark, color=colour, markerfacecolor=face, markersize=7)
        if own is not None and reference is not None and own < reference:
            axes.axvspan(own, reference, color=BAND, linewidth=0)
        for value, colour, text in ((reference, GOOD, "reference"), (own, ACCENT, "own mean")):
            if value is not None:
                axes.axvline(value, color=colour, linewidth=1.2, label=text)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=2, fontsize=10)
        _rows(axes, [run.label for run in runs])
        axes.margins(x=0.12)
        axes.ticklabel_format(axis="x", style="plain", useOffset=False)
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel(f"{unit} to converge")

    return _svg(draw, 1.1 + 0.24 * len(runs))


def lines(runs: Sequence[Series], *, x: str, y: str) -> str:
    """Draw one quantity over another, one line a run, from zero."""

    def draw(axes: Axes) -> None:
        for run in runs:
            colour, dash, width = _LINE[run.kind]
            axes.plot(run.x, run.y, dash, color=colour, linewidth=width, alpha=0.8)
        axes.set_ylim(bottom=0)
        axes.set_xlabel(x)
        axes.set_ylabel(y)

    return _svg(draw, 2.6)


def bars(labels: Sequence[str], values: Sequence[float], *, own: int, x: str) -> str:
    """Draw bars with their values; the one that is ours stands out (-1: none is)."""

    def draw(axes: Axes) -> None:
        rows = range(len(values))
        colours = [ACCENT if row == own else BAND for row in rows]
        drawn = axes.barh(rows, values, color=colours, height=0.66)
        axes.bar_label(drawn, [_short(value) for value in values], padding=4, fontsize=10)
        axes.set_yticks(list(rows), labels)
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.margins(x=0.14)
        axes.set_xlabel(x)

    return _svg(draw, 0.75 + 0.27 * len(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One run on the clock: minutes since the first container or process started."""

    label: str
    container: tuple[float, float]
    timed: tuple[float, float] | None
    cleared: tuple[float, ...]  # when caches were cleared
    kind: str


def timeline(lanes: Sequence[Lane]) -> str:
    """Draw containers, timed spans and cache clears on one clock."""

    def draw(axes: Axes) -> None:
        for row, lane in enumerate(lanes):
            begin, end = lane.container
            axes.barh(row, end - begin, left=begin, height=0.66, color=BAND)
            if lane.timed is not None:
                begin, end = lane.timed
                axes.barh(row, end - begin, left=begin, height=0.34, color=_LINE[lane.kind][0])
            axes.plot(lane.cleared, [row] * len(lane.cleared), "|", color=GOOD, markersize=11)
        _rows(axes, [lane.label for lane in lanes])
        axes.set_xlabel("minutes since the first run began")

    return _svg(draw, 0.75 + 0.24 * len(lanes))


def _short(value: float) -> str:
    """Print a value in the few digits that a bar has room for."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"  # noqa: PLR2004 - thousands


def _rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def _svg(draw: Callable[[Axes], None], height: float) -> str:
    """Return a chart as one <svg> element without size, so that the page scales it."""
    out = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, height))
        draw(figure.subplots())
        figure.savefig(
            out, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    text = out.getvalue()
    return _themed(text[text.index("<svg") :])


def _themed(svg: str) -> str:
    """Replace stand-in colours, drop fonts and ids, so that many charts share one page."""
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<svg [^>]*?viewBox=\"([^\"]+)\"[^>]*>", r'<svg viewBox="\1" aria-hidden="true">',
                 svg, count=1)  # fmt: skip
    svg = re.sub(r"(?: ?font-family: [^;\"]+;)", "", svg)
    for stand_in, variable in _VARIABLES.items():
        svg = svg.replace(stand_in, variable)
    return re.sub(r"\n\s*", "\n", _own_ids(svg))


def _own_ids(svg: str) -> str:
    """Keep only the ids that something refers to, made unlike those of any other chart."""
    digest = hashlib.sha256(svg.encode()).hexdigest()[:8]
    used = set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", svg))
    svg = re.sub(r' id="([^"]+)"', lambda m: f' id="{digest}-{m[1]}"' if m[1] in used else "", svg)
    return re.sub(r'(url\(|href=")#', rf"\g<1>#{digest}-", svg)
