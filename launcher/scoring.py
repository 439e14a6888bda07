"""Folders of logs to times, RCP factors and the RFP's score, both ways.

Run sets of the launcher or any published MLPerf tree. It recomputes everything from the logs and
leaves the rules to launcher.check; it pairs ResNet and BERT only where there is no doubt.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher import official, runset
from launcher.core import score
from launcher.core.benchmark import Benchmark
from launcher.core.score import Scores
from launcher.core.units import Minutes, seconds
from launcher.errors import LogError
from launcher.official import Convergence
from launcher.runset import RunSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One run set and how its convergence compares with the reference."""

    runs: RunSet
    convergence: Convergence | None  # None for rehearsals, and where no window is scored

    @property
    def factor(self) -> float | None:
        """The RCP factor; None where it is not known."""
        return self.convergence.factor if self.convergence else None

    @property
    def normalised(self) -> Minutes | None:
        """Minutes after RCP normalisation; None where the factor is not known."""
        return None if self.factor is None else self.runs.score.normalised(self.factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """ResNet and BERT of one system."""

    resnet: Scored
    bert: Scored

    @property
    def scores(self) -> Scores:
        """The RFP's score, raw and normalised."""
        return score.scores(
            self.resnet.runs.score,
            self.bert.runs.score,
            resnet_factor=self.resnet.factor,
            bert_factor=self.bert.factor,
        )

    @property
    def rehearsal(self) -> bool:
        """Say whether this may never count."""
        return self.resnet.runs.rehearsal or self.bert.runs.rehearsal

    @property
    def valid(self) -> bool:
        """Say whether both benchmarks have a result."""
        return self.resnet.runs.score.valid and self.bert.runs.score.valid


def load(folders: Iterable[Path]) -> list[RunSet]:
    """Read every run set below the folders.

    Raises LogError for a folder that is missing or holds none.
    """
    found: dict[Path, RunSet] = {}
    for folder in folders:
        if not folder.is_dir():
            raise LogError(f"{folder}: is not a folder; name one with logs (result_*.txt) in it.")
        inside = runset.find(folder)
        if not inside:
            raise LogError(f"{folder}: holds no logs (result_*.txt) and no run set; name another.")
        for path in inside:
            found.setdefault(path.resolve(), runset.load(path))
    return list(found.values())


def rate(sets: Sequence[RunSet], *, rcp_file: Path | None = None) -> list[Scored]:
    """Ask the referee for the RCP factor of every set that can have one."""
    real = [runs for runs in sets if not runs.rehearsal]
    opinions = official.judge(real, rcp_file=rcp_file, compliance=False)
    known = {id(runs): opinion.convergence for runs, opinion in zip(real, opinions, strict=True)}
    return [Scored(runs=runs, convergence=known.get(id(runs))) for runs in sets]


def pair(sets: Sequence[Scored]) -> list[Pair]:
    """Put ResNet and BERT together: the only two there are, or those of one system folder."""
    by_benchmark = {
        benchmark: [each for each in sets if each.runs.benchmark is benchmark]
        for benchmark in Benchmark
    }
    resnets, berts = by_benchmark[Benchmark.RESNET], by_benchmark[Benchmark.BERT]
    if len(resnets) == len(berts) == 1:
        return [Pair(resnet=resnets[0], bert=berts[0])]
    pairs = []
    for resnet in resnets:
        system = resnet.runs.folder.resolve().parent
        same = [each for each in berts if each.runs.folder.resolve().parent == system]
        pairs += [Pair(resnet=resnet, bert=bert) for bert in same]
    return pairs


def as_json(sets: Sequence[Scored], pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return everything as JSON would hold it. Times in minutes unless the key says otherwise."""
    return {
        "sets": [_set_json(each) for each in sets],
        "scores": [_pair_json(each) for each in pairs],
    }


def _set_json(scored: Scored) -> dict[str, Any]:
    found = scored.runs.score
    valid = found.valid
    return {
        "folder": str(scored.runs.folder),
        "benchmark": scored.runs.benchmark.value,
        "rehearsal": scored.runs.rehearsal,
        "valid": valid,
        "reason": found.reason,
        "required_runs": found.required,
        "minutes": found.minutes if valid else None,
        "seconds": seconds(found.minutes) if valid else None,
        "rcp_factor": scored.factor,
        "rcp": scored.convergence.message if scored.convergence else None,
        "normalised_minutes": scored.normalised if valid else None,
        "windows": [
            {
                "first": window.first,
                "minutes": window.mean.minutes if window.mean.valid else None,
                "scored": number == found.chosen,
            }
            for number, window in enumerate(found.windows)
        ],
        "runs": [_run_json(each, scored.runs) for each in scored.runs.runs],
    }


def _run_json(run: runset.Run, runs: RunSet) -> dict[str, Any]:
    return {
        "log": str(run.log_file),
        "status": run.result.status.value,
        "reason": run.result.reason,
        "minutes": run.result.minutes,
        "elapsed_minutes": run.result.elapsed,
        "converged_at": run.result.progress,
        "accuracy": run.result.accuracy,
        "seed": run.result.seed,
        "dropped": dropped(run, runs) or None,
        "oddities": [str(each) for each in run.log.suspicious],
    }


def _pair_json(pair: Pair) -> dict[str, Any]:
    scores = pair.scores
    return {
        "resnet": str(pair.resnet.runs.folder),
        "bert": str(pair.bert.runs.folder),
        "rehearsal": pair.rehearsal,
        "valid": pair.valid,
        "raw": scores.raw.value if pair.valid else None,
        "normalised": scores.normalised.value if pair.valid and scores.normalised else None,
        "arithmetic": scores.raw.arithmetic if pair.valid else None,
    }


def dropped(run: runset.Run, runs: RunSet) -> str:
    """Say why a run does not enter the mean: fastest, slowest or outside; empty if it does."""
    window = runs.score.window
    if window is None or not window.mean.valid:
        return ""
    index = next(n for n, each in enumerate(runs.score.runs) if each.name == run.result.name)
    if not window.first <= index < window.first + window.size:
        return "outside"
    return {window.fastest: "fastest", window.slowest: "slowest"}.get(index, "")
