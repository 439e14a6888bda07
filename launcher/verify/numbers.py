"""Times, factors, score and workbook cells: what a response states against what its logs give."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher import package, runset, workbook, xlsx
from launcher.core import score
from launcher.core.benchmark import Benchmark
from launcher.core.findings import Severity
from launcher.core.score import Scores
from launcher.core.units import Seconds, seconds
from launcher.errors import ConfigError, LogError
from launcher.official import Convergence
from launcher.runset import RunSet
from launcher.verify.claims import Claim, Place, same

if TYPE_CHECKING:
    from launcher.check import Checked

# Findings of `launcher check` that are claims of their own here.
CLAIMED = frozenset(
    {
        *("ledger", "ledger.chain", "plan", "runs", "logs", "seeds", "hyperparameters"),
        *("clock", "duplicates", "rcp", "runs.valid"),
    }
)
CELL_TOLERANCE_S = 0.05  # the tab is filled in seconds with three digits; people round


def combine(
    sets: Mapping[Benchmark, RunSet], rcps: Mapping[Benchmark, Convergence]
) -> Scores | None:
    """Return the RFP's score both ways; None without valid results of both benchmarks."""
    if len(sets) < len(Benchmark) or not all(runs.score.valid for runs in sets.values()):
        return None
    factors = {each: rcps[each].factor if each in rcps else None for each in Benchmark}
    return score.scores(
        sets[Benchmark.RESNET].score,
        sets[Benchmark.BERT].score,
        resnet_factor=factors[Benchmark.RESNET],
        bert_factor=factors[Benchmark.BERT],
    )


def times(
    sets: Mapping[Benchmark, RunSet], rcps: Mapping[Benchmark, Convergence], where: str = ""
) -> list[Claim]:
    """Say for each set whether there is a valid result at all, and how it converged."""
    claims = []
    for benchmark, runs in sets.items():
        place = Place(where=where or benchmark.value)
        found = runs.score
        reason = [f"no valid result: {found.reason}"] if found.reason else []
        fine = f"{len(found.scored)} runs give {found.minutes:.6f} minutes"
        claims += place.judge("result", reason, fine)
        claims.append(_convergence(place, rcps.get(benchmark)))
    return claims


def checks(checked: "Checked", where: str) -> list[Claim]:
    """Turn what `launcher check` finds into claims, where the evidence has not said it already."""
    place = Place(where=where)
    errors = [each for each in checked.findings if each.severity is Severity.ERROR]
    told = {
        "compliance": [each for each in errors if each.rule.startswith("compliance.")],
        "check": [
            each
            for each in errors
            if not each.rule.startswith("compliance.") and each.rule not in CLAIMED
        ],
    }
    passed = sum(checked.opinion.compliant)
    which = "but for a rehearsal's own target" if checked.runs.rehearsal else "all that converged"
    fine = {
        "compliance": f"{passed} of {len(checked.opinion.compliant)} logs pass, {which}",
        "check": "nothing else is wrong with it",
    }
    return [
        claim
        for name, found in told.items()
        for claim in place.judge(
            name, (f"{each.where}: {each.rule}: {each.message}" for each in found), fine[name]
        )
    ]


def _convergence(place: Place, rcp: Convergence | None) -> Claim:
    if rcp is None:
        return place.cannot_tell("rcp", "convergence was not compared with the reference points")
    if not rcp.passed:
        return place.differs("rcp", f"convergence does not pass: {rcp.message}")
    return place.agrees("rcp", f"{rcp.message}; minutes are multiplied by {rcp.factor:.7f}")


def statement(
    sets: Mapping[Benchmark, RunSet], rcps: Mapping[Benchmark, Convergence]
) -> dict[str, Any]:
    """Return the numbers a response states, recomputed: the content of its scores file."""
    told: dict[str, Any] = {}
    for benchmark, runs in sets.items():
        factor = rcps[benchmark].factor if benchmark in rcps else None
        minutes = runs.score.minutes
        told[benchmark.value] = {
            "minutes": _number(minutes),
            "seconds": _number(seconds(minutes)),
            "rcp_factor": factor,
            "normalised_minutes": _number(minutes * factor) if factor else None,
            "required_runs": runs.score.required,
            "runs": [_run(run, runs) for run in runs.runs],
        }
    scores = combine(sets, rcps)
    if scores is not None:
        told["score"] = {
            "raw": scores.raw.value,
            "normalised": scores.normalised.value if scores.normalised else None,
            "arithmetic": scores.raw.arithmetic,
        }
    return told


def _run(run: runset.Run, runs: RunSet) -> dict[str, Any]:
    return {
        "run": run.number,
        "status": run.result.status.value,
        "minutes": run.result.minutes,
        "seed": run.result.seed,
        "converged_at": run.result.progress,
        "accuracy": run.result.accuracy,
        "scored": run in runs.scored,
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def compare_statement(path: Path, found: Mapping[str, Any]) -> list[Claim]:
    """Hold the scores file against the recomputed numbers, one claim a number."""
    place = Place(where=package.SCORES)
    try:
        stated = runset.read_json(path)
    except LogError as error:
        return [place.differs("scores", str(error))]
    if not isinstance(stated, dict):
        return [place.differs("scores", "the file is not a JSON object")]
    return [_compare(place, name, _at(stated, name), value) for name, value in _leaves(found)]


def _leaves(found: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    for section, values in found.items():
        for key, value in values.items():
            if key not in {"runs", "arithmetic", "required_runs"}:
                yield f"{section}.{key}", value
        if "runs" in values:
            yield f"{section}.number_of_runs", len(values["runs"])


def _at(stated: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401 - any JSON
    section, _, key = name.partition(".")
    inner = stated.get(section)
    if not isinstance(inner, dict):
        return None
    if key == "number_of_runs":
        return len(inner["runs"]) if isinstance(inner.get("runs"), list) else None
    return inner.get(key)


def _compare(place: Place, name: str, stated: object, found: float | None) -> Claim:
    if found is None:
        if stated is None:
            return place.cannot_tell(name, "not stated, and not to be computed from what is here")
        return place.differs(name, f"stated {stated!r}; the evidence gives no such number")
    if same(stated, found):
        return place.agrees(name, f"{found:.7g}")
    return place.differs(name, f"stated {stated!r}; the logs give {found:.7g}")


def compare_workbook(
    path: Path, sets: Mapping[Benchmark, RunSet], rcps: Mapping[Benchmark, Convergence]
) -> list[Claim]:
    """Hold the MLPerf tab's Test column against the logs."""
    place = Place(where=path.name)
    if not path.is_file():
        return [place.cannot_tell("workbook", "there is no workbook in the package")]
    try:
        cells = workbook.times(path.read_bytes())
    except ConfigError as error:
        return [place.differs("workbook", str(error))]
    claims = [_nodes(place, cells.get("C7"))]
    for benchmark, runs in sets.items():
        rcp = rcps.get(benchmark)
        cell = benchmark.facts.workbook_cell
        if runs.score.valid:
            claims.append(_seconds(place, cell, cells.get(cell), runs, rcp))
        else:
            text = "the logs give no valid result to compare it with"
            claims.append(place.cannot_tell(f"workbook.{cell}", text))
    return claims


def _nodes(place: Place, cell: xlsx.Cell | None) -> Claim:
    if cell is not None and cell.value == 1:
        return place.agrees("workbook.C7", "1 node")
    shown = None if cell is None else cell.value
    return place.differs("workbook.C7", f"states {shown!r} nodes; the runs are of 1")


def _seconds(
    place: Place, name: str, cell: xlsx.Cell | None, runs: RunSet, rcp: Convergence | None
) -> Claim:
    rule = f"workbook.{name}"
    if cell is None:
        return place.differs(rule, f"is empty; the logs give {seconds(runs.score.minutes):.3f} s")
    if cell.formula is not None:
        return place.differs(rule, f"is a formula ({cell.formula[:80]!r}), not a measured time")
    minutes = runs.score.minutes
    raw = seconds(minutes)
    if _near(cell.value, raw):
        return place.agrees(rule, f"{raw:.3f} s, the raw olympic mean")
    if rcp and rcp.factor and _near(cell.value, Seconds(raw * rcp.factor)):
        return place.agrees(rule, f"{raw * rcp.factor:.3f} s, the RCP-normalised olympic mean")
    if isinstance(cell.value, float) and math.isclose(cell.value, minutes, rel_tol=0.02):
        return place.differs(rule, f"states {cell.value:g}: that is minutes; {raw:.3f} s is meant")
    return place.differs(rule, f"states {cell.value!r}; the logs give {raw:.3f} s")


def _near(value: object, expected: float) -> bool:
    return isinstance(value, float) and abs(value - expected) <= CELL_TOLERANCE_S


def compare_scaling(folder: Path, where: str, rcp: Convergence | None) -> list[Claim]:
    """Hold a published scaling.json against the recomputed RCP factor."""
    path = folder / "scaling.json"
    place = Place(where=f"{where}/scaling.json")
    if rcp is None or rcp.factor is None:
        return []
    if not path.is_file():
        return _unscaled(place, rcp.factor)
    try:
        stated = runset.read_json(path)
    except LogError as error:
        return [place.differs("rcp_factor", str(error))]
    value = stated.get("scaling_factor") if isinstance(stated, dict) else None
    return [_compare(place, "rcp_factor", value, rcp.factor)]


def _unscaled(place: Place, factor: float) -> list[Claim]:
    """Point out a set that earns a factor above 1 and was published without."""
    if same(1.0, factor):
        return []
    return [place.cannot_tell("rcp_factor", f"none is stated; the logs earn {factor:.7f}")]
