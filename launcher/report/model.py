"""An answer to plain rows: everything the report shows, as JSON would hold it.

The page, the Markdown and `--format json` are three spellings of this one mapping.
"""

import math
from collections.abc import Mapping
from typing import Any

from launcher import runset
from launcher.answer import Answer
from launcher.changes import Changes
from launcher.core import rcp, sanity
from launcher.core.benchmark import Benchmark
from launcher.core.plan import MARK
from launcher.core.score import Score
from launcher.core.units import seconds
from launcher.report import yardstick
from launcher.runset import Run, RunSet
from launcher.verify import evidence


def of(answer: Answer) -> dict[str, Any]:
    """Return every fact of the report."""
    return {
        "watermark": MARK if answer.rehearsal else None,
        "system": _system(answer),
        "score": _score(answer),
        "benchmarks": [_benchmark(answer, each) for each in answer.sets],
        "findings": [
            {"severity": f.severity.value, "rule": f.rule, "where": f.where, "message": f.message}
            for f in answer.findings
        ],
        "proposed": _proposed(answer),
        "yardstick": [{"name": each.name, "score": each.score} for each in yardstick.NODES],
    }


def _system(answer: Answer) -> dict[str, Any]:
    if answer.system is None:
        found = next(iter(answer.sets.values())).runs[0].result.facts
        return {
            "title": str(found.get("submission_platform", "unknown system")),
            "submitter": str(found.get("submission_org", "unknown submitter")),
            "description": {},
        }
    described = answer.system.mlperf_description()
    return {
        "title": answer.system.title,
        "submitter": answer.system.submitter,
        "description": {key: value for key, value in described.items() if value not in ("", {})},
    }


def _score(answer: Answer) -> dict[str, Any] | None:
    if answer.scores is None:
        return None
    normalised = answer.scores.normalised
    return {
        "raw": _one_score(answer.scores.raw),
        "normalised": _one_score(normalised) if normalised else None,
    }


def _one_score(score: Score) -> dict[str, Any]:
    return {
        "value": score.value,
        "resnet_part": score.resnet_part,
        "bert_part": score.bert_part,
        "arithmetic": score.arithmetic,
    }


def _benchmark(answer: Answer, benchmark: Benchmark) -> dict[str, Any]:
    runs = answer.sets[benchmark]
    facts = benchmark.facts
    found = answer.rcps.get(benchmark)
    factor = found.factor if found else None
    minutes = _finite(runs.score.minutes)
    return {
        "name": benchmark.value,
        "title": facts.title,
        "quality_name": facts.quality_name,
        "target": runs.runs[0].result.target,
        "unit": facts.convergence_unit,
        "weight": facts.score_weight,
        "required_runs": runs.score.required,
        "valid": runs.score.valid,
        "reason": runs.score.reason,
        "minutes": minutes,
        "seconds": None if minutes is None else seconds(runs.score.minutes),
        "factor": factor,
        "normalised_minutes": minutes * factor if minutes and factor else None,
        "rcp_passed": found.passed if found else None,
        "rcp_message": found.message if found else "not compared with the reference points",
        "convergence": _convergence(benchmark, runs),
        "runs": [_run(run, runs) for run in runs.runs],
        "hyperparameters": _hyperparameters(runs),
        "changes": _changes(answer.changes[benchmark]),
        "evidence": [
            {"name": claim.name, "verdict": claim.verdict.value, "message": claim.message}
            for claim in evidence.examine(runs, benchmark.value)
        ],
        "image": _image(runs),
        "engine": runs.plan.engine if runs.plan else None,
        "implementation": runs.plan.implementation if runs.plan else None,
        "dataset": dict(runs.plan.dataset) if runs.plan and runs.plan.dataset else None,
    }


def kind(run: Run, runs: RunSet) -> str:
    """Return how a run counts: scored, dropped, failed, or outside the scored window."""
    if not run.result.converged:
        return "failed"
    window = runs.score.window
    if run not in runs.scored or window is None:
        return "outside"
    position = [each.name for each in runs.score.runs].index(run.result.name)
    return "dropped" if position in (window.fastest, window.slowest) else "scored"


def _run(run: Run, runs: RunSet) -> dict[str, Any]:
    found = run.result
    init = (found.init_start_ms, found.init_stop_ms)
    return {
        "run": run.number,
        "kind": kind(run, runs),
        "status": found.status.value,
        "reason": found.reason,
        "seed": found.seed,
        "minutes": found.minutes,
        "elapsed": found.elapsed,
        "accuracy": found.accuracy,
        "converged_at": found.progress,
        "samples_per_s": throughput(run, runs.benchmark),
        "init_minutes": None if None in init else (init[1] - init[0]) / 60_000,  # type: ignore[operator]
        "odd_records": sum(run.log.oddities.values()),
    }


def throughput(run: Run, benchmark: Benchmark) -> float | None:
    """Return training samples a second over the whole timed span, evaluation included."""
    found = run.result
    if not found.elapsed or found.progress is None:
        return None
    size = found.facts.get("train_samples", benchmark.facts.train_samples)
    each = size if benchmark is Benchmark.RESNET else 1  # ResNet counts epochs, BERT samples
    return found.progress * each / (found.elapsed * 60) if isinstance(each, int | float) else None


def _convergence(benchmark: Benchmark, runs: RunSet) -> dict[str, Any]:
    """Place the set on the reference convergence points, for the chart."""
    ends = sorted(run.result.progress for run in runs.scored if run.result.progress is not None)
    inner = ends[1:-1]
    sizes = runs.runs[0].result.global_batch_size
    reference = None if sizes is None or runs.rehearsal else rcp.reference(benchmark, sizes)
    return {
        "own_mean": math.fsum(inner) / len(inner) if inner else None,
        "reference_mean": reference.mean if reference else None,
        "position": reference.position.value if reference else "not compared",
        "global_batch_size": sizes,
    }


def _hyperparameters(runs: RunSet) -> list[dict[str, Any]]:
    return [
        {
            "key": verdict.key,
            "value": verdict.value,
            "freedom": verdict.freedom.value,
            "ok": verdict.ok,
            "allowed": verdict.allowed,
            "source": verdict.source,
            "note": verdict.note,
        }
        for verdict in sanity.verdicts([run.result for run in runs.runs])
    ]


def _changes(changes: Changes) -> dict[str, Any]:
    return {
        "new_files": list(changes.new_files),
        "patches": [
            {
                "name": change.name,
                "subject": change.subject,
                "why": change.why,
                "upstream": change.upstream,
                "files": list(change.files),
                "added": change.added,
                "removed": change.removed,
            }
            for change in changes.patches
        ],
    }


def _image(runs: RunSet) -> dict[str, str]:
    if runs.plan is None or runs.plan.image is None:
        return {}
    hidden = {"patch-files", "inputs"}
    named = {key: str(runs.plan.image[key]) for key in ("name", "id") if runs.plan.image.get(key)}
    return named | {
        key: text for key, text in runset.image_labels(runs.plan).items() if key not in hidden
    }


def _proposed(answer: Answer) -> Mapping[str, Any] | None:
    if answer.system is None or answer.system.proposed is None:
        return None
    own = answer.system.proposed
    return {
        "resnet_seconds": own.resnet_seconds,
        "bert_seconds": own.bert_seconds,
        "nodes": own.nodes,
        "method": own.method,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
