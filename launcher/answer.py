"""Both run sets of one system, put together: folders to everything an RFP answer says.

It pairs the sets, asks the referee once and scores. It writes nothing; report, workbook and
response are made from what it returns.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from launcher import changes, paths, runset
from launcher.changes import Changes
from launcher.core import system
from launcher.core.benchmark import Benchmark
from launcher.core.findings import Finding
from launcher.core.score import Scores
from launcher.core.system import System
from launcher.errors import ConfigError, LogError
from launcher.official import Convergence
from launcher.runset import RunSet
from launcher.verify import numbers

if TYPE_CHECKING:
    from launcher.check import Checked

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # it becomes a file's name
Referee = Callable[[Sequence[RunSet]], Sequence["Checked"]]


def unasked(sets: Sequence[RunSet]) -> Sequence["Checked"]:
    """Be a referee that was not asked: each claim that needs its word says it cannot tell."""
    del sets
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One system's run sets with what they come to."""

    sets: Mapping[Benchmark, RunSet]
    rcps: Mapping[Benchmark, Convergence]
    scores: Scores | None  # None while one benchmark is missing
    system: System | None  # None for a stranger's logs
    changes: Mapping[Benchmark, Changes]
    findings: tuple[Finding, ...]  # of `launcher check`

    @property
    def rehearsal(self) -> bool:
        """Say whether any of it may never count."""
        return any(runs.rehearsal for runs in self.sets.values())


def load(roots: list[Path], referee: Referee, patches: Path = paths.PATCHES) -> Answer:
    """Read the run sets below some folders, at most one a benchmark.

    Raises LogError when there is none, ConfigError when two sets are of one benchmark or the two
    benchmarks ran on different systems.
    """
    sets: dict[Benchmark, RunSet] = {}
    for folder in [found for root in roots for found in runset.find(root)]:
        loaded = runset.load(folder)
        if loaded.benchmark in sets:
            other = sets[loaded.benchmark].folder
            raise ConfigError(
                f"{other} and {folder} both hold runs of {loaded.benchmark.value}; name the "
                "folder of one system, or one folder a benchmark."
            )
        sets[loaded.benchmark] = loaded
    if not sets:
        raise LogError(f"{', '.join(map(str, roots))}: no run set; name a folder with results.")
    ordered = {benchmark: sets[benchmark] for benchmark in Benchmark if benchmark in sets}
    checked = referee(list(ordered.values()))
    rcps = {
        each.runs.benchmark: each.opinion.convergence
        for each in checked
        if each.opinion.convergence is not None and not each.runs.rehearsal
    }
    return Answer(
        sets=ordered,
        rcps=rcps,
        scores=numbers.combine(ordered, rcps),
        system=_system(ordered),
        changes={benchmark: changes.read(patches, benchmark) for benchmark in ordered},
        findings=tuple(finding for each in checked for finding in _located(each)),
    )


def _located(checked: "Checked") -> list[Finding]:
    """Say of each finding which benchmark's it is."""
    name = checked.runs.benchmark.value
    return [
        finding
        if finding.where == name
        else dataclasses.replace(finding, where=f"{name}/{finding.where}")
        for finding in checked.findings
    ]


def _system(sets: Mapping[Benchmark, RunSet]) -> System | None:
    """Return the system that all plans name."""
    found: System | None = None
    for runs in sets.values():
        if runs.plan is None:
            return None
        try:
            fields = {key: value for key, value in runs.plan.system.items() if key != "name"}
            read = system.parse(_name(runs), fields)
        except ValueError as error:
            raise ConfigError(f"{runs.folder / runset.PLAN}: system: {error}.") from error
        if found is not None and found.source != read.source:
            raise ConfigError(
                f"{runs.folder} ran on another system file than the other benchmark; an answer is "
                "of one system."
            )
        found = read
    return found


def _name(runs: RunSet) -> str:
    """Return the system's name, by the plan or the folder around the benchmark's."""
    stated = runs.plan.system.get("name") if runs.plan else None
    if isinstance(stated, str) and _NAME.fullmatch(stated):
        return stated
    return runs.folder.parent.name.removeprefix("REHEARSAL-") or "system"
