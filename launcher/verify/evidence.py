"""A run set against its own ledger and plan: dropped, added, edited, swapped or re-rolled runs.

`RunSet` to claims. Everything that can be hashed is hashed again; it trusts no number it could
compute. What it cannot show: a ledger that was forged as a whole is intact, so its last hash is
printed for comparison with one that was handed over earlier.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from launcher import filetree, runset
from launcher.core.ledger import Chain, Record
from launcher.core.plan import Plan
from launcher.core.result import Result
from launcher.core.units import moment
from launcher.runset import Run, RunSet
from launcher.verify.claims import Claim, Place

CLOCK_SLACK_S = 2.0  # between the engine's clock and the container's
_MIN_TWINS = 3  # points two curves must share before they can be called the same run


def examine(runs: RunSet, where: str) -> list[Claim]:
    """Return what the ledger and plan of a run set say about its logs."""
    place = Place(where=where)
    if runs.plan is None or runs.chain is None:
        if runs.plan is not None:
            text = f"{runset.PLAN} is here and {runset.LEDGER} is not: a run set has both"
            return [place.differs("ledger", text), *logs(runs, where)]
        text = "there is no plan and no ledger: that no run was left out cannot be shown"
        return [place.cannot_tell("ledger", text), *logs(runs, where)]
    return [
        *_chain(runs.chain, place),
        *_frozen(runs.folder, runs.plan, runs.chain, place),
        *place.judge("runs", _counts(runs, runs.plan, runs.chain), f"{len(runs.runs)} runs were "
                     "planned, started, ended and handed over"),
        *place.judge("logs", _files(runs, runs.chain), "every log has the hash that the ledger "
                     "took when its container ended"),
        *place.judge("seeds", _seeds(runs, runs.plan, runs.chain), "every run used the seed that "
                     "was drawn for it before run 0"),
        *place.judge("hyperparameters", _hyperparameters(runs, runs.plan), "every log states the "
                     "hyperparameters of the plan"),
        *place.judge("clock", _clock(runs), "every timed span lies inside its container's life"),
        *logs(runs, where),
    ]  # fmt: skip


def logs(runs: RunSet, where: str) -> list[Claim]:
    """Return what the logs show by themselves, of a stranger's set too."""
    return Place(where=where).judge("duplicates", _twins(runs.runs), "no two logs are of one run")


def _chain(chain: Chain, place: Place) -> list[Claim]:
    last = chain.records[-1].sha256 if chain.records else "none"
    fine = f"{len(chain.records)} records, each seals the one before; the last is {last}"
    return place.judge("ledger.chain", (f"the ledger's {fault}" for fault in chain.faults), fine)


def events(chain: Chain, event: str) -> list[Record]:
    """Return the records of one kind."""
    return [record for record in chain.records if record.event == event]


def _frozen(folder: Path, plan: Plan, chain: Chain, place: Place) -> list[Claim]:
    """Hold plan and hyperparameters against the hashes that the ledger begins with."""
    problems = []
    first = chain.records[0] if chain.records else None
    if first is None or first.event != "plan":
        problems.append("the ledger does not begin with the plan")
    stated = first.payload if first else {}
    for name, key in ((runset.PLAN, "plan_sha256"),
                      (runset.HYPERPARAMETERS, "hyperparameters_sha256")):  # fmt: skip
        path = folder / name
        found = filetree.sha256(path) if path.is_file() else "missing"
        if stated.get(key) != found:
            problems.append(f"{name} is not the one the runs started from (sha256 {found})")
        if key == "hyperparameters_sha256" and found != plan.hyperparameters_sha256:
            problems.append(f"{name} is not the one that plan.json names")
    return place.judge("plan", problems, "plan and hyperparameters are those of before run 0")


def _counts(runs: RunSet, plan: Plan, chain: Chain) -> Iterator[str]:
    """Name the runs that some witness knows and another does not."""
    witnesses = {
        "planned": set(range(len(plan.seeds))),
        "started in the ledger": _numbers(chain, "run_start"),
        "ended in the ledger": _numbers(chain, "run_end"),
        "handed over": {run.number for run in runs.runs},
    }
    everything = set[int]().union(*witnesses.values())
    for name, numbers in witnesses.items():
        for number in sorted(everything - numbers):
            yield f"run {number} was not {name}, though others say there is one"
    if not events(chain, "complete"):
        yield "the ledger has no record that the set was complete"
    known = {run.folder.name for run in runs.runs}
    for path in sorted(runs.folder.glob("run_*")):
        if path.name not in known:
            yield f"{path.name} lies in the set but is no run of it"
    yield from _attempts(runs, chain)


def _attempts(runs: RunSet, chain: Chain) -> Iterator[str]:
    """Hold repeated starts against the ledger: only one without a run_start may be repeated."""
    repeated = Counter(
        (run, _whole(payload.get("attempt"))) for run, payload in payloads(chain, "run_repeat")
    )
    for run in runs.runs:
        for folder in sorted(run.folder.glob("attempt_*")):
            number = folder.name.removeprefix("attempt_")
            key = (run.number, int(number) if number.isdecimal() else None)
            if not repeated.pop(key, 0):
                yield f"{run.folder.name}/{folder.name} is a start that the ledger does not know"
            for path in folder.glob("*result.txt"):
                if runset.read_log(path)[0].start_ms is not None:
                    yield f"{run.folder.name}/{folder.name} reached run_start, yet was repeated"
    for run_number, attempt in repeated:
        yield f"attempt {attempt} of run {run_number} is in the ledger and was not handed over"


def _numbers(chain: Chain, event: str) -> set[int]:
    return {number for number, _ in payloads(chain, event)}


def payloads(chain: Chain, event: str) -> list[tuple[int, Mapping[str, Any]]]:
    """Return what the ledger says of each run, in order; whoever wrote it may have lied."""
    found = ((_whole(record.payload.get("run")), record.payload) for record in events(chain, event))
    return [(number, payload) for number, payload in found if number is not None]


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _files(runs: RunSet, chain: Chain) -> Iterator[str]:
    ends = dict(payloads(chain, "run_end"))
    final: dict[str, Any] = {}
    for record in events(chain, "complete"):
        logs = record.payload.get("logs")
        final = logs if isinstance(logs, dict) else {}
    for run in runs.runs:
        name = f"{run.folder.name}/{run.log_file.name}"
        digest = filetree.sha256(run.log_file)
        ended = ends.get(run.number, {})
        if run.exit is None:
            yield f"{run.folder.name} has no exit.json: its container was not seen to end"
        elif dict(ended) != run.exit:
            yield f"{run.folder.name}/exit.json is not what the ledger recorded when the run ended"
        if ended.get("log_sha256") != digest:
            yield f"{name} was altered: the ledger took another sha256 when the run ended"
        if final and final.get(str(run.number)) != digest:
            yield f"{name} is not the log that the completed set held"


def _seeds(runs: RunSet, plan: Plan, chain: Chain) -> Iterator[str]:
    starts = dict(payloads(chain, "run_start"))
    for seed, count in Counter(plan.seeds).items():
        if count > 1:
            yield f"seed {seed} was planned {count} times"
    for run in runs.runs:
        if run.number >= len(plan.seeds):
            continue
        planned = plan.seeds[run.number]
        told: dict[str, object] = {
            "its log": run.result.seed,
            "the ledger": starts.get(run.number, {}).get("seed"),
            "exit.json": (run.exit or {}).get("seed"),
        }
        for witness, told_seed in told.items():
            if told_seed != planned:
                yield f"run {run.number} was to have seed {planned}; {witness} says {told_seed!r}"
        if len(set(run.result.seeds)) > 1:
            yield f"run {run.number} logged several seeds: {run.result.seeds}"


def _hyperparameters(runs: RunSet, plan: Plan) -> Iterator[str]:
    for run in runs.runs:
        for key, logged in run.result.hyperparameters.items():
            if key in plan.hyperparameters and plan.hyperparameters[key] != logged:
                yield (
                    f"run {run.number} logged {key} {logged!r}; the plan says "
                    f"{plan.hyperparameters[key]!r}"
                )


def _clock(runs: RunSet) -> Iterator[str]:
    """Hold what logs say against when the engine saw containers start and end."""
    spans = []
    for run in runs.runs:
        ended = run.exit or {}
        started, finished = moment(ended.get("started_at")), moment(ended.get("finished_at"))
        first, last = run.result.start_ms, run.result.stop_ms
        if started is None or finished is None:
            yield f"run {run.number}: exit.json does not say when the container lived"
            continue
        spans.append((started, finished, run.number))
        if first is not None and first / 1000 < started - CLOCK_SLACK_S:
            yield f"run {run.number}: run_start lies before its container started"
        if last is not None and last / 1000 > finished + CLOCK_SLACK_S:
            yield f"run {run.number}: run_stop lies after its container ended"
    for (_, end, one), (start, _, other) in itertools.pairwise(sorted(spans)):
        if start < end - CLOCK_SLACK_S:
            yield f"runs {one} and {other} ran at the same time on one node"


def _twins(runs: tuple[Run, ...]) -> Iterator[str]:
    """Name pairs of logs that tell of the same run, whatever seed or date they state."""
    for one, other in itertools.combinations(runs, 2):
        pair = f"{one.result.name} and {other.result.name}"
        a, b = _shape(one.result), _shape(other.result)
        if one.result.start_ms is not None and one.result.start_ms == other.result.start_ms:
            yield f"{pair} started in the same millisecond"
        elif len(a) >= _MIN_TWINS and a == b:
            yield f"{pair} are one run: every accuracy and time since run_start is equal"


def _shape(result: Result) -> tuple[tuple[float, float], ...]:
    """Return accuracy and time since run_start of every evaluation."""
    start = result.start_ms or 0.0
    return tuple((point.accuracy, round(point.time_ms - start, 3)) for point in result.curve)
