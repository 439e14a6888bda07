"""Run sets to findings: everything that can be said against them, with rule, place and weight.

mlperf-logging judges compliance, seeds and convergence (launcher.official); the ledger and plan are
held against the logs (launcher.verify.evidence); the rest is core/sanity. It changes nothing.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher import imagelabels, official, scoring
from launcher.core import sanity
from launcher.core.findings import Finding, Severity, valid
from launcher.core.plan import Plan
from launcher.core.result import finite
from launcher.core.rules import Verdict
from launcher.core.units import moment
from launcher.official import Opinion
from launcher.runset import REHEARSAL_LOG, Run, RunSet
from launcher.verify import evidence
from launcher.verify.claims import Verdict as Claimed

RESIDENT = 0.01  # share of the data that may stay cached and still count as cleared
CLOCK_SLACK_S = 2.0  # between wall clock and monotonic clock over one run


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One run set with all that was found."""

    runs: RunSet
    opinion: Opinion
    verdicts: tuple[Verdict, ...]  # one a hyperparameter
    findings: tuple[Finding, ...]  # gravest first

    @property
    def valid(self) -> bool:
        """Say whether nothing found is an error. A rehearsal can be valid; it is never a result."""
        return valid(self.findings)

    def count(self, severity: Severity) -> int:
        """Say how many findings weigh this much."""
        return sum(each.severity is severity for each in self.findings)


def check(sets: Sequence[RunSet], *, rcp_file: Path | None = None) -> list[Checked]:
    """Check run sets; mlperf-logging is started once for all of them."""
    opinions = official.judge(sets, rcp_file=rcp_file)
    return [_checked(runs, opinion) for runs, opinion in zip(sets, opinions, strict=True)]


def as_json(checked: Sequence[Checked]) -> dict[str, Any]:
    """Return everything as JSON would hold it."""
    return {"valid": all(each.valid for each in checked), "sets": [_json(each) for each in checked]}


def _checked(runs: RunSet, opinion: Opinion) -> Checked:
    results = [run.result for run in runs.runs]
    judged = sanity.verdicts(results)
    where = runs.folder.name
    found = [
        *_compliance(runs, opinion),
        *_convergence(runs, opinion),
        *_evidence(runs),
        *sanity.of_set(runs.score, where),
        *_weighed(runs, sanity.of_verdicts(judged, where)),
    ]
    for run in runs.runs:
        found += _named(runs, sanity.of_run(run.result, run.log, official.place(run)))
    if runs.plan is None:
        found += sanity.overlaps(results, where)
    else:
        found += sanity.of_plan(runs.plan, "plan.json")
        found += _ours(runs, runs.plan)
    order = list(Severity)
    return Checked(
        runs=runs,
        opinion=opinion,
        verdicts=judged,
        findings=tuple(sorted(found, key=lambda each: order.index(each.severity))),
    )


def _compliance(runs: RunSet, opinion: Opinion) -> Iterator[Finding]:
    """Weigh what mlperf-logging said: one run that did not converge is forgiven."""
    forgiven = {
        official.place(run) for run in runs.runs if runs.score.valid and not run.result.converged
    }
    for finding in opinion.findings:
        log = finding.where.split(":")[0]
        if runs.rehearsal and finding.rule == "compliance.eval_accuracy":
            text = f"{finding.message}; a rehearsal has a target of its own"
            yield dataclasses.replace(finding, message=text, severity=Severity.NOTE)
        elif log in forgiven and finding.severity is Severity.ERROR:
            text = f"{finding.message}; this run did not converge and counts as the slowest"
            yield dataclasses.replace(finding, message=text, severity=Severity.WARNING)
        else:
            yield finding


def _convergence(runs: RunSet, opinion: Opinion) -> Iterator[Finding]:
    found = opinion.convergence
    if found is None:
        return
    passed = found.passed and found.factor is not None
    factor = f"; minutes count times {found.factor:.7f}" if found.factor else ""
    yield Finding(
        rule="rcp",
        where=runs.folder.name,
        message=f"mlperf-logging says of the convergence: {found.message}{factor}",
        severity=Severity.NOTE if passed else Severity.ERROR,
    )


def _evidence(runs: RunSet) -> Iterator[Finding]:
    """Turn claims that differ from their evidence, or have none, into findings."""
    weights = {Claimed.DIFFERS: Severity.ERROR, Claimed.CANNOT_TELL: Severity.NOTE}
    for claim in evidence.examine(runs, runs.folder.name):
        if claim.verdict in weights:
            yield Finding(
                rule=claim.name,
                where=claim.where,
                message=claim.message,
                severity=weights[claim.verdict],
            )


def _weighed(runs: RunSet, found: Iterator[Finding]) -> Iterator[Finding]:
    """Make notes of what a rehearsal's sizes break on purpose."""
    for each in found:
        yield dataclasses.replace(each, severity=Severity.NOTE) if runs.rehearsal else each


def _named(runs: RunSet, found: Iterator[Finding]) -> Iterator[Finding]:
    """Insist on the names in logs of our own; a stranger's were accepted with worse."""
    ours = runs.plan is not None and not runs.rehearsal
    for each in found:
        grave = ours and each.rule == "placeholder"
        yield dataclasses.replace(each, severity=Severity.ERROR) if grave else each


def _ours(runs: RunSet, plan: Plan) -> Iterator[Finding]:
    """Look at what only the launcher's own run sets have."""
    cleared = dict(evidence.payloads(runs.chain, "cache_clear")) if runs.chain else {}
    for run in runs.runs:
        where = official.place(run)
        if (run.log_file.name == REHEARSAL_LOG) != plan.rehearsal:
            text = "the name of the log and the plan disagree on whether this is a rehearsal"
            yield Finding(rule="rehearsal.mark", where=where, message=text)
        if run.result.cache_clear_ms:
            yield from _cache(cleared.get(run.number), where)
        yield from _monotonic(run, where)
    if plan.image is not None:
        labels = plan.image.get("labels")
        yield from _labels(labels if isinstance(labels, dict) else {}, plan)


def _cache(proof: Mapping[str, Any] | None, where: str) -> Iterator[Finding]:
    """Hold the log's cache_clear against the page cache as it was measured."""
    if proof is None:
        text = "the log says cache_clear; the ledger holds no proof of it"
        yield Finding(rule="cache.proof", where=where, message=text)
        return
    data, left = proof.get("data_bytes"), proof.get("resident_after_bytes")
    cleared = finite(data) and finite(left) and left <= data * RESIDENT
    if not cleared or proof.get("proven") is not True:
        text = f"the log says cache_clear; {left!r} of {data!r} bytes of data were cached after it"
        yield Finding(rule="cache.proof", where=where, message=text)


def _monotonic(run: Run, where: str) -> Iterator[Finding]:
    """Hold the wall clock against the monotonic one: a clock that was set would show."""
    ended = run.exit or {}
    elapsed = ended.get("elapsed_s")
    started, finished = moment(ended.get("started_at")), moment(ended.get("finished_at"))
    if not finite(elapsed) or started is None or finished is None:
        return
    wall = finished - started
    if wall > elapsed + CLOCK_SLACK_S:
        text = (
            f"the container lived {wall:.1f} s by the wall clock, {elapsed:.1f} s by a steady one"
        )
        yield Finding(rule="clock.set", where=where, message=text)
    span = run.result.elapsed
    if span is not None and span * 60 > elapsed + CLOCK_SLACK_S:
        text = f"the timed span is {span * 60:.1f} s, but the run took {elapsed:.1f} s in all"
        yield Finding(rule="clock.span", where=where, message=text)


def _labels(labels: Mapping[str, Any], plan: Plan) -> Iterator[Finding]:
    texts = {str(key): str(value) for key, value in labels.items()}
    for difference in imagelabels.differences(
        texts, plan.benchmark, plan.implementation, rehearsal=plan.rehearsal
    ):
        text = f"the image is not what this checkout would build: {difference}"
        yield Finding(
            rule="image.labels", where="plan.json", message=text, severity=Severity.WARNING
        )


def _json(checked: Checked) -> dict[str, Any]:
    rated = scoring.Scored(runs=checked.runs, convergence=checked.opinion.convergence)
    return {
        "folder": str(checked.runs.folder),
        "benchmark": checked.runs.benchmark.value,
        "rehearsal": checked.runs.rehearsal,
        "valid": checked.valid,
        "minutes": checked.runs.score.minutes if checked.runs.score.valid else None,
        "rcp_factor": rated.factor,
        "compliant": dict(
            zip(map(official.place, checked.runs.runs), checked.opinion.compliant, strict=True)
        ),
        "hyperparameters": [
            dataclasses.asdict(each) | {"freedom": each.freedom.value} for each in checked.verdicts
        ],
        "findings": [
            dataclasses.asdict(each) | {"severity": each.severity.value}
            for each in checked.findings
        ],
    }
