"""A folder of logs, ours or a stranger's, to results and a score.

It reads run sets as the launcher keeps them (plan, ledger, run folders) and MLPerf result folders
as submitters publish them (`result_*.txt`). It recomputes everything from the logs, judges nothing
and writes nothing.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher import package
from launcher.core import ledger, presets, result, score, strictjson
from launcher.core import plan as plans
from launcher.core.benchmark import Benchmark
from launcher.core.mllog import Log
from launcher.core.plan import Plan
from launcher.core.result import Result, ResultSet
from launcher.core.score import SetScore
from launcher.errors import LogError

PLAN = "plan.json"
LEDGER = "ledger.jsonl"
HYPERPARAMETERS = "hyperparameters.yaml"
LOG = "result.txt"
REHEARSAL_LOG = "REHEARSAL-result.txt"
EXIT = "exit.json"
TELEMETRY = "telemetry.jsonl"
CHUNK = 1 << 20
LABEL = "gp2bm."  # prefix of our image labels, see launcher/imagelabels
MAX_JSON = 16 << 20  # a plan or ledger beyond this was not written by the launcher

_FOREIGN = re.compile(r"result_.*\.txt$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run: its folder or file, what its log says, and how its container ended."""

    number: int
    folder: Path
    log_file: Path
    result: Result
    log: Log  # oddities only
    exit: dict[str, Any] | None  # exit.json; None for a run not done, or a stranger's


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSet:
    """All runs of one benchmark on one system."""

    folder: Path
    benchmark: Benchmark
    plan: Plan | None  # None: a stranger's set
    chain: ledger.Chain | None
    runs: tuple[Run, ...]
    score: SetScore

    @property
    def rehearsal(self) -> bool:
        """Say whether these runs may never count."""
        return self.plan is not None and self.plan.rehearsal

    @property
    def scored(self) -> tuple[Run, ...]:
        """Return the runs of the scored window, by start time."""
        by_name = {run.result.name: run for run in self.runs}
        return tuple(by_name[each.name] for each in self.score.scored)


def find(root: Path) -> list[Path]:
    """List the folders below (or at) `root` that hold a run set, ours or a stranger's.

    Of an unpacked response these are the whole sets in ledger/, not the copies made of them.
    """
    if root.is_dir() and (layout := package.locate(root)).ours:
        whole = layout.root / package.LEDGER
        root = whole if whole.is_dir() else root
    ours = sorted(path.parent for path in root.rglob(PLAN))
    taken = set(ours)
    foreign = sorted({path.parent for path in root.rglob("result_*.txt")})
    return ours + [
        folder
        for folder in foreign
        if not taken.intersection((folder, *folder.parents)) and _numbered(folder)
    ]


def load(folder: Path, benchmark: Benchmark | None = None) -> RunSet:
    """Read one run set.

    Raises LogError when it holds no log, or logs of no benchmark of ours.
    """
    plan = _load_plan(folder / PLAN)
    chain = _load_chain(folder / LEDGER)
    benchmark = benchmark or (plan.benchmark if plan else None) or Benchmark.named(folder.name)
    runs = tuple(_runs(folder, plan, benchmark))
    found = benchmark or next((run.result.benchmark for run in runs), None)
    if not runs or found is None:
        raise LogError(f"{folder} holds no log of resnet or bert; name a folder with results.")
    results = ResultSet(benchmark=found, results=tuple(run.result for run in runs))
    return RunSet(
        folder=folder,
        benchmark=found,
        plan=plan,
        chain=chain,
        runs=runs,
        score=score.score_set(results),
    )


def read_log(
    path: Path,
    name: str = "",
    benchmark: Benchmark | None = None,
    target: float | None = None,
) -> tuple[Result, Log]:
    """Read one log of any size. `target` is for rehearsals, whose target is not the rules'."""
    return result.read(name or path.name, pieces(path), benchmark=benchmark, target=target)


def read_json(path: Path) -> Any:  # noqa: ANN401 - any JSON
    """Read a small JSON file that may hold anything.

    Raises LogError when it is missing, too large or no JSON.
    """
    try:
        with path.open("rb") as source:
            text = source.read(MAX_JSON + 1)
        if len(text) > MAX_JSON:
            raise LogError(f"{path} is larger than {MAX_JSON} bytes; it is not the launcher's.")
        return strictjson.loads(text)
    except (OSError, ValueError) as error:
        raise LogError(f"{path} cannot be read as JSON: {error}.") from error


def image_labels(plan: Plan) -> dict[str, str]:
    """Return our labels of the image the runs were started from, without their prefix."""
    found = (plan.image or {}).get("labels")
    mapping = found if isinstance(found, Mapping) else {}
    return {
        str(key).removeprefix(LABEL): str(value)
        for key, value in mapping.items()
        if str(key).startswith(LABEL)
    }


def _load_plan(path: Path) -> Plan | None:
    if not path.is_file():
        return None
    try:
        plan = plans.loads(json.dumps(read_json(path)))
    except (ValueError, TypeError) as error:
        raise LogError(f"{path} is not a plan: {error}.") from error
    for name in ("source", "system", "hyperparameters", "container", "host"):
        _mapping(getattr(plan, name), f"{name} of {path}")
    for name in ("image", "dataset"):
        if getattr(plan, name) is not None:
            _mapping(getattr(plan, name), f"{name} of {path}")
    return plan


def _load_chain(path: Path) -> ledger.Chain | None:
    if not path.is_file():
        return None
    return ledger.verify(next(pieces(path, size=MAX_JSON), b""))


def _runs(folder: Path, plan: Plan | None, benchmark: Benchmark | None) -> Iterator[Run]:
    entries = _own(folder) if plan else _numbered(folder)
    target = presets.target(plan.benchmark, rehearsal=True) if plan and plan.rehearsal else None
    for number, path in entries:
        name = path.parent.name if plan else path.name
        found, log = read_log(path, name, benchmark, target)
        ended = path.parent / EXIT
        yield Run(
            number=number,
            folder=path.parent,
            log_file=path,
            result=found,
            log=log,
            exit=_mapping(read_json(ended), str(ended)) if plan and ended.is_file() else None,
        )


def _own(folder: Path) -> list[tuple[int, Path]]:
    """List the logs of run_<i>/, by number."""
    found = []
    for path in folder.glob("run_*"):
        number = path.name.removeprefix("run_")
        logs = [path / name for name in (LOG, REHEARSAL_LOG) if (path / name).is_file()]
        if number.isdecimal() and logs:
            found.append((int(number), logs[0]))
    return sorted(found)


def _numbered(folder: Path) -> list[tuple[int, Path]]:
    """List a stranger's logs by their last number: result_10 comes after result_2."""
    found = []
    for path in folder.iterdir():
        digits = re.findall(r"\d+", path.stem)
        if path.is_file() and _FOREIGN.match(path.name) and digits:
            found.append((int(digits[-1]), path))
    return sorted(found)


def _mapping(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise LogError(f"{where} is not a JSON object.")
    return value


def pieces(path: Path, start: int = 0, size: int = CHUNK) -> Iterator[bytes]:
    """Read a log in pieces. Raises LogError where it cannot be read."""
    try:
        with path.open("rb") as source:
            source.seek(start)
            while piece := source.read(size):
                yield piece
    except OSError as error:
        raise LogError(f"{path} cannot be read: {error.strerror}.") from error
