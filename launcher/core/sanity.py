"""Results and plans to findings: what a careful reader of the logs would ask about.

Only what mlperf-logging does not look at, or says in a way that helps nobody. It judges values it
is handed; it reads nothing.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence

from launcher.core import rules, system
from launcher.core.findings import Finding, Severity
from launcher.core.mllog import Log, Oddity
from launcher.core.plan import Plan
from launcher.core.result import Result
from launcher.core.rules import Verdict
from launcher.core.score import SetScore

MAX_INIT_MINUTES = 30  # closed division; mlperf-logging training_4.0.0/common.yaml
STEP_MS = 1000  # ranks disagree by milliseconds; a second is a clock that was set
ODDITIES = 20  # reported of one log
DRAWN = ("os.urandom", "secrets")
# The text that a system file's placeholders would put into every log.
_NAMES = ("submission_org", "submission_platform")
_HARMLESS = (Oddity.TEXT_BEFORE, Oddity.ODD_METADATA, Oddity.NOT_UTF8)


def of_run(run: Result, log: Log, where: str) -> Iterator[Finding]:
    """Look at one log by itself."""
    if not run.converged:
        yield _warning("run.converged", where, f"this run did not converge: {run.reason}")
    yield from _oddities(log, where)
    yield from _clock(run, where)
    for key in _NAMES:
        text = run.facts.get(key)
        if isinstance(text, str) and system.is_placeholder(text):
            yield _warning("placeholder", where, f"{key} is {text!r}, which nobody filled in")
    if run.facts.get("submission_division") not in (None, "closed"):
        said = run.facts["submission_division"]
        yield _error("division", where, f"submission_division is {said!r}; the RFP wants closed")
    for key in run.contradictions:
        yield _warning("contradiction", where, f"{key} was logged with different values")


def of_set(found: SetScore, where: str) -> Iterator[Finding]:
    """Look at the runs of one set beside each other."""
    if found.reason:
        yield _error("runs.valid", where, f"no valid result: {found.reason}")
    yield from _mixed(found.runs, where)
    yield from _seeds(found.runs, where)


def overlaps(runs: Sequence[Result], where: str) -> Iterator[Finding]:
    """Name runs that were timed at the same time, which one node cannot do undisturbed."""
    spans = sorted(
        (run.start_ms, run.stop_ms, run.name)
        for run in runs
        if run.start_ms is not None and run.stop_ms is not None
    )
    for (_, stop, one), (start, _, other) in itertools.pairwise(spans):
        if start < stop:
            text = f"{one} and {other} ran at the same time: on several nodes, or disturbed"
            yield _warning("runs.overlap", where, text)


def of_plan(plan: Plan, where: str) -> Iterator[Finding]:
    """Look at what was decided before run 0."""
    if plan.rehearsal:
        yield _note("rehearsal", where, "this is a rehearsal: whatever it shows is not a result")
    if plan.seed_source not in DRAWN:
        text = (
            f"seeds come from {plan.seed_source!r}; the rules allow a clock or the system's entropy"
        )
        yield _error("seed.source", where, text)
    if len(plan.seeds) < plan.required_runs:
        text = f"{len(plan.seeds)} runs were planned; the rules ask for {plan.required_runs}"
        yield _weigh(plan, "runs.planned", where, text)
    if plan.stale_image:
        text = "the image was older than the checkout, and that was allowed by --allow-stale-image"
        yield _warning("image.stale", where, text)
    if plan.source.get("overlay_only"):
        yield _weigh(plan, "source.overlay", where, "the runs' source lacks the reference's tree")
    if plan.engine == "process":
        text = "the runs were processes of the launcher, not containers: nothing isolated them"
        yield _weigh(plan, "engine.process", where, text)


def verdicts(runs: Sequence[Result]) -> tuple[Verdict, ...]:
    """Judge the hyperparameters of a set by its first run that logged a batch size."""
    run = next((each for each in runs if "global_batch_size" in each.hyperparameters), None)
    if run is None or run.benchmark is None:
        return ()
    samples = {key: run.facts[key] for key in ("train_samples", "eval_samples") if key in run.facts}
    return rules.verdicts(run.benchmark, {**samples, **run.hyperparameters})


def of_verdicts(judged: Sequence[Verdict], where: str) -> Iterator[Finding]:
    """Name the hyperparameters that break a rule."""
    for verdict in judged:
        if not verdict.ok:
            text = (
                f"{verdict.key} is {verdict.value!r}; the closed division allows {verdict.allowed}"
                f" ({verdict.source})"
            )
            yield _error(f"hyperparameter.{verdict.key}", where, text)


def _oddities(log: Log, where: str) -> Iterator[Finding]:
    for odd in log.suspicious[:ODDITIES]:
        tell = _note if odd.oddity in _HARMLESS else _warning
        text = f"this record {odd.oddity.value}: {odd.excerpt!r}"
        yield tell("log.oddity", f"{where}:{odd.line}", text)
    if (more := sum(log.oddities.values()) - ODDITIES) > 0:
        yield _warning("log.oddity", where, f"there are {more} more records like these")


def _clock(run: Result, where: str) -> Iterator[Finding]:
    init, start, stop = run.init_start_ms, run.start_ms, run.stop_ms
    if init is not None and run.init_stop_ms is not None:
        minutes = (run.init_stop_ms - init) / 60_000
        if minutes >= MAX_INIT_MINUTES:
            text = f"initialisation took {minutes:.2f} minutes; {MAX_INIT_MINUTES} are allowed"
            yield _error("clock.init", where, text)
    if run.step_back_ms > STEP_MS:
        text = f"the clock goes back by {run.step_back_ms / 1000:.1f} s from one record to the next"
        yield _warning("clock.step", where, text)
    if start is None:
        return
    if run.cache_clear_ms and min(run.cache_clear_ms) > start:
        yield _error("cache.order", where, "caches were cleared only after the clock had started")
    if stop is not None and any(not start <= point.time_ms <= stop for point in run.curve):
        text = "evaluations are dated outside the time from run_start to run_stop"
        yield _warning("clock.evaluation", where, text)


def _mixed(runs: Sequence[Result], where: str) -> Iterator[Finding]:
    """Name values that should be one for the whole set."""
    told = [{**run.facts, **run.hyperparameters} for run in runs]
    keys = dict.fromkeys(key for values in told for key in values if key != "train_samples")
    for key in keys:  # BERT's train_samples counts what was trained and differs from run to run
        values = list(dict.fromkeys(repr(each[key]) for each in told if key in each))
        if len(values) > 1:
            tell = _warning if key in _NAMES else _error
            yield tell("runs.mixed", where, f"{key} differs between runs: {', '.join(values)}")


def _seeds(runs: Sequence[Result], where: str) -> Iterator[Finding]:
    seeds = [run.seed for run in runs if run.seed is not None]
    for seed, count in Counter(seeds).items():
        if count > 1:
            yield _warning("seed.unique", where, f"{count} runs state the seed {seed!r}")
    numbers = sorted(seed for seed in seeds if isinstance(seed, int))
    if len(numbers) > 1 and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
        text = f"seeds {numbers[0]} to {numbers[-1]} were counted, not drawn at random"
        yield _warning("seed.drawn", where, text)


def _weigh(plan: Plan, rule: str, where: str, message: str) -> Finding:
    """Return what spoils a result and is ordinary in a rehearsal."""
    return (_note if plan.rehearsal else _error)(rule, where, message)


def _error(rule: str, where: str, message: str) -> Finding:
    return Finding(rule=rule, where=where, message=message)


def _warning(rule: str, where: str, message: str) -> Finding:
    return Finding(rule=rule, where=where, message=message, severity=Severity.WARNING)


def _note(rule: str, where: str, message: str) -> Finding:
    return Finding(rule=rule, where=where, message=message, severity=Severity.NOTE)
