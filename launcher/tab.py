"""An answer to the texts and numbers of the workbook's MLPerf tab.

What was measured comes from logs and plans, what was used from the image's labels, what was changed
from the patches. It never fills in what nobody recorded.
"""

import json
from collections.abc import Mapping
from typing import Any

from launcher import changes
from launcher.answer import Answer
from launcher.core.benchmark import Benchmark
from launcher.core.plan import Plan
from launcher.core.system import Proposed
from launcher.core.units import seconds
from launcher.errors import ConfigError
from launcher.runset import image_labels
from launcher.workbook import Column, Tab, require_seconds

ABSENT = "absent"
_PLAIN = {"HOME", "USER"}  # of the environment: no library's flags


def of(answer: Answer, *, partly: bool = False) -> Tab:
    """Return the whole tab.

    Raises ConfigError while a benchmark has no valid result, unless `partly` leaves its cell out.
    """
    measured = {}
    for benchmark in Benchmark:
        runs = answer.sets.get(benchmark)
        if runs is not None and runs.score.valid:
            measured[benchmark] = seconds(runs.score.minutes)
        elif not partly:
            why = "has no runs" if runs is None else f"has no valid result: {runs.score.reason}"
            raise ConfigError(f"{benchmark.value} {why}; the tab needs both benchmarks.")
    plans = [runs.plan for runs in answer.sets.values() if runs.plan]
    proposed = answer.system.proposed if answer.system else None
    return Tab(
        test=Column(
            nodes=1,
            seconds=measured,
            tasks=answer.system.accelerators.count if answer.system else None,
            threads=_threads(plans),
        ),
        proposed=None if proposed is None else _projection(proposed),
        texts=_texts(plans) | {"description": _description(answer, proposed)},
    )


def _projection(proposed: Proposed) -> Column:
    times = {Benchmark.RESNET: proposed.resnet_seconds, Benchmark.BERT: proposed.bert_seconds}
    for benchmark, value in times.items():
        require_seconds(benchmark, value, f"proposed.{benchmark.value}_seconds")
    return Column(nodes=proposed.nodes, seconds=times)


def _threads(plans: list[Plan]) -> int | None:
    """Return OMP_NUM_THREADS where every container was started with the same one."""
    stated = {str(_environment(plan).get("OMP_NUM_THREADS", "")) for plan in plans}
    value = stated.pop() if len(stated) == 1 else ""
    return int(value) if value.isdecimal() else None


def _texts(plans: list[Plan]) -> dict[str, str]:
    versions = _versions(plans)
    if not versions:
        return {}
    base = _same(plans, "base-image")
    torch = f"PyTorch {versions.get('torch', ABSENT)}"
    flags = sorted({f"{k}={v}" for plan in plans for k, v in _environment(plan).items()
                    if k not in _PLAIN})  # fmt: skip
    return {
        "compiler": f"Binaries of {base}; {torch} compiles kernels while it initialises "
        f"(Triton, CUDA {versions.get('cuda', ABSENT)})",
        "mpi": f"None: one process a GPU by torch.distributed, NCCL {versions.get('nccl', ABSENT)}",
        "libraries": ", ".join(f"{k} {v}" for k, v in versions.items() if v != ABSENT),
        "compiler_flags": f"None of ours; as built into {base}",
        "library_flags": "; ".join(flags) or "None",
    }


def _versions(plans: list[Plan]) -> dict[str, str]:
    """Return the versions that were probed inside the images; where they differ, both."""
    merged: dict[str, str] = {}
    for plan in plans:
        try:
            found = json.loads(image_labels(plan).get("versions", "{}"))
        except ValueError:
            continue
        for name, version in sorted(found.items()) if isinstance(found, dict) else ():
            known = merged.get(name, str(version))
            merged[name] = known if known == str(version) else f"{known} and {version}"
    return merged


def _same(plans: list[Plan], label: str) -> str:
    return " and ".join(sorted({image_labels(plan).get(label, "the image") for plan in plans}))


def _environment(plan: Plan) -> Mapping[str, Any]:
    found = plan.container.get("environment")
    return found if isinstance(found, Mapping) else {}


def _description(answer: Answer, proposed: Proposed | None) -> str:
    told = []
    for benchmark, runs in answer.sets.items():
        facts = benchmark.facts
        minutes = runs.score.minutes
        rcp = answer.rcps.get(benchmark)
        normalised = (
            f"; normalised to the reference convergence (x {rcp.factor:.7f}) "
            f"{seconds(minutes) * rcp.factor:.3f} s"
            if rcp and rcp.factor
            else ""
        )
        if not runs.score.valid:
            told.append(f"{facts.title}: no valid result: {runs.score.reason}.")
            continue
        told.append(
            f"{facts.title}: {seconds(minutes):.3f} s ({minutes:.4f} min) measured, mean of "
            f"{len(runs.scored)} runs without the fastest and the slowest{normalised}.\n"
            + changes.describe(answer.changes[benchmark])
        )
    if answer.scores:
        told.append(f"Score, raw: {answer.scores.raw.arithmetic}")
        if answer.scores.normalised:
            told.append(f"Score, normalised: {answer.scores.normalised.arithmetic}")
    if proposed:
        told.append(f"Proposed (projected, not measured): {proposed.method}")
    told.append("Source, patches, logs and ledger are in the response; see its README.md.")
    return "\n\n".join(told)
