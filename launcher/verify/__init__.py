"""A response from a stranger to a verdict per claim.

It unpacks safely, recomputes everything from the logs and compares: manifest, ledger, plan, logs,
times, convergence, score, workbook and source. It never executes anything from the package, needs
no network and no container, and stores nothing.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher import filetree, package, runset, unpack
from launcher.core.benchmark import Benchmark
from launcher.core.plan import MARK
from launcher.core.score import Scores
from launcher.errors import LauncherError, LogError, ResponseError
from launcher.official import Convergence
from launcher.package import Layout
from launcher.runset import RunSet
from launcher.verify import evidence, numbers, redacted, source
from launcher.verify.claims import Claim, Place, Verdict

if TYPE_CHECKING:
    from launcher.check import Checked
    from launcher.redaction import Key

Referee = Callable[[Sequence[RunSet]], Sequence["Checked"]]
Page = Callable[[Path, Sequence["Checked"]], str]  # a folder of run sets to its report


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Every claim with its verdict, and the numbers that were recomputed."""

    package: str
    kind: str  # "response" or "results"
    claims: tuple[Claim, ...]
    scores: Scores | None
    numbers: Mapping[str, Any]

    def count(self, verdict: Verdict) -> int:
        """Say how many claims have this verdict."""
        return sum(claim.verdict is verdict for claim in self.claims)

    @property
    def agrees(self) -> bool:
        """Say whether no claim differs from its evidence."""
        return not self.count(Verdict.DIFFERS)

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON would hold it."""
        claims = [
            dataclasses.asdict(claim) | {"verdict": claim.verdict.value} for claim in self.claims
        ]
        return {
            "package": self.package,
            "kind": self.kind,
            "agrees": self.agrees,
            "claims": claims,
            "recomputed": dict(self.numbers),
        }


def verify(
    response: Path,
    *,
    referee: Referee,
    reference: str | None = None,
    key: "Key | None" = None,
    points: Callable[[Path], Referee] | None = None,
    page: Page | None = None,
) -> Verification:
    """Examine a package (tar, tar.gz, tar.zst, zip) or a folder.

    `referee` checks run sets (launcher.check), `key` undoes a redaction, `points` makes a referee
    of the convergence points that the response carries, where they are accepted, `page` makes the
    report that a response's own is compared with.
    Raises ResponseError when the package cannot be unpacked safely or holds nothing to examine.
    """
    with (
        unpack.opened(response) as root,
        _without(root, response),
        redacted.opened(package.locate(root), key) as opened,
    ):
        layout, first, soften = opened
        kind = "response" if layout.ours else "results"
        look = _response if layout.ours else _results
        own = layout.root / package.RCPS
        if points is not None and own.is_file():
            referee = points(own)
        asked: list[Checked] = []
        claims, sets, rcps = look(layout, _remembering(referee, asked), reference)
        if page is not None and layout.ours:
            claims.append(_report(layout, claims, asked, page))
        claims = [*first, *_own_points(layout, accepted=points is not None), *map(soften, claims)]
        return Verification(
            package=response.name,
            kind=kind,
            claims=tuple(_told(claim, root, response) for claim in claims),
            scores=numbers.combine(sets, rcps),
            numbers=numbers.statement(sets, rcps),
        )


@contextmanager
def _without(root: Path, response: Path) -> Iterator[None]:
    """Let a refusal name the package and not the folder it was unpacked into: that is gone."""
    try:
        yield
    except ResponseError as error:
        raise ResponseError(_renamed(str(error), root, response)) from error


def _told(claim: Claim, root: Path, response: Path) -> Claim:
    return dataclasses.replace(claim, message=_renamed(claim.message, root, response))


def _renamed(text: str, root: Path, response: Path) -> str:
    if root == response:
        return text
    return text.replace(f"{root}/", "").replace(str(root), str(response))


def _remembering(referee: Referee, asked: "list[Checked]") -> Referee:
    """Return a referee whose answer stays at hand: asking takes seconds."""

    def ask(sets: Sequence[RunSet]) -> Sequence["Checked"]:
        asked[:] = referee(sets)
        return asked

    return ask


def _report(layout: Layout, claims: Sequence[Claim], asked: "list[Checked]", page: Page) -> Claim:
    """Hold the page that came along against the one made of the evidence, byte for byte."""
    place, path = Place(where=package.REPORT), layout.root / package.REPORT
    own = "make your own with `launcher report`"
    if any(claim.verdict is Verdict.DIFFERS for claim in claims):
        return place.cannot_tell("report", f"what it shows differs from its evidence; {own}")
    try:
        same = path.read_bytes() == page(layout.root / package.LEDGER, asked).encode()
    except (LauncherError, OSError) as error:
        return place.cannot_tell("report", f"it cannot be compared ({error}); {own}")
    if same:
        return place.agrees("report", "the page is what this launcher makes of the evidence")
    text = "it is not the page that this launcher makes of the evidence: another version made it, "
    return place.cannot_tell("report", f"{text}or it was altered; {own}")


Found = tuple[list[Claim], dict[Benchmark, RunSet], dict[Benchmark, Convergence]]


def _response(layout: Layout, referee: Referee, reference: str | None) -> Found:
    claims = _draft(layout)
    sets: dict[Benchmark, RunSet] = {}
    for benchmark in Benchmark:
        loaded, problems = _load_one(layout, benchmark)
        claims += problems
        if loaded is None:
            continue
        sets[benchmark] = loaded
        claims += evidence.examine(loaded, f"{package.LEDGER}/{benchmark.value}")
        claims += _copies(layout, loaded) if loaded.plan else []
        claims += source.examine(layout, benchmark, loaded.plan, reference)
    checked = _ask(referee, list(sets.values()), claims)
    for each in checked:
        claims += numbers.checks(each, f"{package.LEDGER}/{each.runs.benchmark.value}")
    rcps = _rcps(checked)
    claims += numbers.times(sets, rcps)
    claims += numbers.compare_statement(layout.root / package.SCORES, numbers.statement(sets, rcps))
    claims += numbers.compare_workbook(layout.root / package.WORKBOOK, sets, rcps)
    return claims, sets, rcps


def _results(layout: Layout, referee: Referee, reference: str | None) -> Found:
    """Look at a tree that states nothing: run sets with their ledgers, or a stranger's logs."""
    del reference
    folders = runset.find(layout.root)
    if not folders:
        raise ResponseError(f"{layout.root} holds no logs (result_*.txt); name the right folder.")
    claims: list[Claim] = []
    found: dict[Benchmark, list[RunSet]] = {}
    for folder in folders:
        where = folder.relative_to(layout.root).as_posix()
        try:
            loaded = runset.load(folder)
        except LogError as error:
            claims.append(Place(where=where).differs("logs", str(error)))
            continue
        found.setdefault(loaded.benchmark, []).append(loaded)
    every = [loaded for several in found.values() for loaded in several]
    if any(loaded.plan for loaded in every):
        text = "no manifest and no statement came along: there is only what was recorded to check"
    else:
        text = "no manifest, plan or ledger came along: only what the logs show can be checked"
    claims.insert(0, Place(where=".").cannot_tell("evidence", text))
    return _judge_results(layout, referee, found, claims)


def _judge_results(
    layout: Layout, referee: Referee, found: dict[Benchmark, list[RunSet]], claims: list[Claim]
) -> Found:
    every = [loaded for several in found.values() for loaded in several]
    checked = _ask(referee, every, claims)
    for number, loaded in enumerate(every):
        where = loaded.folder.relative_to(layout.root).as_posix()
        own = checked[number : number + 1]
        rcps = _rcps(own)
        claims += evidence.examine(loaded, where) if loaded.plan else evidence.logs(loaded, where)
        if loaded.rehearsal:
            text = f"{MARK}: whatever these runs show is none"
            claims.append(Place(where=where).cannot_tell("rehearsal", text))
        for each in own:
            claims += numbers.checks(each, where)
        claims += numbers.times({loaded.benchmark: loaded}, rcps, where)
        claims += numbers.compare_scaling(loaded.folder, where, rcps.get(loaded.benchmark))
    if len(every) > len(found):
        text = "several sets of one benchmark; name one system's folder for a score"
        claims.append(Place(where=".").cannot_tell("score", text))
        return claims, {}, {}
    sets = {loaded.benchmark: loaded for loaded in every}
    rcps = _rcps(checked)
    for path in sorted(layout.root.glob("*.xlsx")):
        claims += numbers.compare_workbook(path, sets, rcps)
    return claims, sets, rcps


def _ask(referee: Referee, sets: list[RunSet], claims: list[Claim]) -> Sequence["Checked"]:
    """Ask mlperf-logging about all sets at once; a referee that fails leaves the claims open."""
    try:
        return referee(sets)
    except LauncherError as error:
        claims.append(Place(where=".").cannot_tell("compliance", str(error)))
        return ()


def _rcps(checked: Sequence["Checked"]) -> dict[Benchmark, Convergence]:
    return {
        each.runs.benchmark: each.opinion.convergence
        for each in checked
        if each.opinion.convergence is not None
    }


def _draft(layout: Layout) -> list[Claim]:
    if not (layout.root / package.DRAFT).exists():
        return []
    return [Place(where=package.DRAFT).differs("draft", "the proponent marked this as a draft")]


def _own_points(layout: Layout, *, accepted: bool) -> list[Claim]:
    """Say that the response brings convergence points of its own, and who judged by them."""
    if not (layout.root / package.RCPS).is_file():
        return []
    used = "were used here" if accepted else "were not used; look at them, then --accept-rcps"
    text = f"the response brings its own convergence points, which {used}"
    return [Place(where=package.RCPS).cannot_tell("rcp.own", text)]


def _load_one(layout: Layout, benchmark: Benchmark) -> tuple[RunSet | None, list[Claim]]:
    """Read a benchmark's run set, or at least MLPerf's copy of its logs."""
    place = Place(where=f"{package.LEDGER}/{benchmark.value}")
    folder = layout.run_set(benchmark)
    copies = layout.results(benchmark)
    try:
        if folder.is_dir():
            loaded = runset.load(folder)
            if loaded.benchmark is not benchmark:
                return None, [place.differs("runs", f"the plan is of {loaded.benchmark.value}")]
            marks = ["these runs are a rehearsal"] if loaded.rehearsal else []
            return loaded, [place.differs("rehearsal", mark) for mark in marks]
        if len(copies) == 1:
            return runset.load(copies[0], benchmark), []
    except LogError as error:
        return None, [place.differs("runs", str(error))]
    return None, [place.differs("runs", "there is no run set of this benchmark")]


def _copies(layout: Layout, runs: RunSet) -> list[Claim]:
    """Hold MLPerf's result files against the run set: the scored runs, in order, byte for byte."""
    place = Place(where=f"{package.MLPERF} results of {runs.benchmark.value}")
    folders = layout.results(runs.benchmark)
    if len(folders) != 1:
        return [place.differs("copies", f"there are {len(folders)} result folders; one is due")]
    given = {path.name: path for path in folders[0].glob("result_*.txt")}
    due = {f"result_{number}.txt": run.log_file for number, run in enumerate(runs.scored)}
    problems = [f"{name} is missing" for name in sorted(due.keys() - given.keys())]
    problems += [f"{name} is no scored run" for name in sorted(given.keys() - due.keys())]
    problems += [
        f"{name} is not the log of {due[name].parent.name}"
        for name in sorted(due.keys() & given.keys())
        if filetree.sha256(due[name]) != filetree.sha256(given[name])
    ]
    return place.judge("copies", problems, f"{len(due)} files are the logs of the scored runs")
