"""Several systems' logs to one table: scores both ways, how far chance goes, what proves them.

Run sets, responses and published trees alike, each checked by launcher.check first. It ranks by the
normalised score, as the rules do, and says where that ranking is weak. Nothing is unpacked outside
a temporary folder, and nothing is executed.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher import check, package, runset, scoring, unpack
from launcher.check import Checked
from launcher.core import interval
from launcher.core.benchmark import Benchmark
from launcher.core.findings import Severity
from launcher.errors import LogError
from launcher.report import yardstick
from launcher.runset import RunSet
from launcher.scoring import Pair, Scored

PLAUSIBLE = 1.5  # times the best public node; beyond it a score needs an explanation


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One system's score and what stands behind it."""

    name: str
    pair: Pair
    errors: int  # found by launcher.check, in both sets
    half_width: float | None  # of the normalised score's 95 % interval; None for too few runs

    @property
    def raw(self) -> float:
        """The score, not normalised; 0 where there is no valid result."""
        return self.pair.scores.raw.value if self.pair.valid else 0.0

    @property
    def normalised(self) -> float | None:
        """The score after RCP normalisation; None where a factor is not known."""
        found = self.pair.scores.normalised
        return found.value if found is not None and self.pair.valid else None

    @property
    def ranked_by(self) -> float:
        """What the ranking goes by: normalised, raw where that is all there is."""
        return self.raw if self.normalised is None else self.normalised

    @property
    def evidence(self) -> str:
        """Say in a few words what the score rests on."""
        sets = (self.pair.resnet.runs, self.pair.bert.runs)
        if self.pair.rehearsal:
            return "a rehearsal: not a result"
        if self.errors:
            return f"{self.errors} errors found by check"
        if all(runs.chain is not None and runs.chain.intact for runs in sets):
            return "plan, intact ledger and logs agree"
        return "logs alone"


def compare(packages: Sequence[Path]) -> list[Entry]:
    """Read, check and rank systems, the best first and rehearsals last, whatever they show.

    Each is a folder or an archive that holds one or more pairs of ResNet and BERT. Raises LogError
    when one holds no pair, ResponseError when an archive is not safe to unpack.
    """
    with ExitStack() as stack:
        found = [
            (path, _sets(stack.enter_context(unpack.opened(path)) if path.is_file() else path))
            for path in packages
        ]
        everything = [runs for _, sets in found for runs in sets]
        checked = {id(each.runs): each for each in check.check(everything)}
        names = Counter(path.name for path in packages)
        entries = [
            entry
            for path, sets in found
            for entry in _entries(path.name if names[path.name] == 1 else str(path), sets, checked)
        ]
    return sorted(entries, key=lambda entry: (entry.pair.rehearsal, -entry.ranked_by))


def remarks(entries: Sequence[Entry]) -> Iterator[str]:
    """Say what a reader of the ranking should know; of rehearsals, the table has said it all."""
    entries = [entry for entry in entries if not entry.pair.rehearsal]
    by_raw = sorted(entries, key=lambda entry: -entry.raw)
    if [each.name for each in by_raw] != [each.name for each in entries]:
        order = ", ".join(each.name for each in by_raw)
        yield f"The ranking depends on normalisation: by raw scores it is {order}."
    for better, worse in itertools.pairwise(entries):
        if better.half_width is None or worse.half_width is None:
            continue
        noise = (better.half_width**2 + worse.half_width**2) ** 0.5
        gap = better.ranked_by - worse.ranked_by
        if gap < noise:
            yield (
                f"{better.name} and {worse.name} differ by {gap:.4f}, less than runs differ by"
                f" chance ({noise:.4f} at 95 %): neither is shown to be better."
            )
    for entry in entries:
        yield from _doubts(entry)


def _doubts(entry: Entry) -> Iterator[str]:
    """Say what is odd about one score."""
    best = max(yardstick.NODES, key=lambda node: node.score)
    if entry.ranked_by > PLAUSIBLE * best.score:
        yield (
            f"{entry.name} scores {entry.ranked_by:.3f}, {entry.ranked_by / best.score:.1f} times"
            f" the best public single node ({best.name}, {best.score:.3f}): ask how."
        )
    if not entry.pair.valid:
        yield f"{entry.name} has no valid result for both benchmarks."
    elif entry.normalised is None:
        yield f"{entry.name} has no RCP factor and is ranked by its raw score."


def as_json(entries: Sequence[Entry]) -> dict[str, Any]:
    """Return everything as JSON would hold it."""
    return {
        "entries": [
            {
                "name": each.name,
                "raw": each.raw if each.pair.valid else None,
                "normalised": each.normalised,
                "half_width_95": each.half_width,
                "evidence": each.evidence,
                "errors": each.errors,
                "rehearsal": each.pair.rehearsal,
            }
            for each in entries
        ],
        "remarks": list(remarks(entries)),
        "context": [{"name": node.name, "score": node.score} for node in yardstick.NODES],
    }


def _sets(folder: Path) -> list[RunSet]:
    """Read the run sets of a folder; of a response, its ledger's and not their copies."""
    layout = package.locate(folder) if folder.is_dir() else None
    if layout is not None and layout.ours:
        own = [layout.run_set(benchmark) for benchmark in Benchmark]
        return [runset.load(path) for path in own if path.is_dir()]
    return scoring.load([folder])


def _entries(name: str, sets: Sequence[RunSet], checked: dict[int, Checked]) -> Iterator[Entry]:
    rated = [Scored(runs=runs, convergence=checked[id(runs)].opinion.convergence) for runs in sets]
    pairs = scoring.pair(rated)
    if not pairs:
        raise LogError(f"{name}: holds no ResNet and BERT that belong together; name another.")
    for pair in pairs:
        both = (pair.resnet.runs, pair.bert.runs)
        yield Entry(
            name=name if len(pairs) == 1 else f"{name}/{both[0].folder.parent.name}",
            pair=pair,
            errors=sum(checked[id(runs)].count(Severity.ERROR) for runs in both),
            half_width=_half_width(pair),
        )


def _half_width(pair: Pair) -> float | None:
    """Return half the interval of the score by which the pair is ranked."""
    if not pair.valid:
        return None
    widths = []
    for each in (pair.resnet, pair.bert):
        times = [run.minutes or float("inf") for run in each.runs.score.scored]
        width = interval.half_width(times)
        if width is None:
            return None
        widths.append(width * (each.factor or 1.0))
    return interval.of_score(pair.scores.normalised or pair.scores.raw, *widths)
