"""Run sets, patches and the RFP's workbook to the one file that a proponent hands over.

Same evidence, same bytes: names are sorted, times and owners fixed. It refuses a rehearsal always,
and anything that its own verifier or MLCommons' checkers find wrong unless it is marked as a draft.
It never changes the run sets it reads.
"""

import json
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import zstandard

from launcher import (
    __version__,
    filetree,
    git,
    package,
    packagecheck,
    pages,
    patchqueue,
    paths,
    redaction,
    runset,
    tab,
    verify,
    workbook,
)
from launcher.answer import Answer, Referee
from launcher.core.benchmark import Benchmark
from launcher.core.findings import Finding, Severity
from launcher.core.plan import POLICY, RULESET, Plan
from launcher.core.system import System
from launcher.errors import ResponseError
from launcher.redaction import Key
from launcher.runset import RunSet
from launcher.verify import numbers
from launcher.verify.claims import Verdict

EPOCH = 1_709_251_200  # every file's time: 2024-03-01, after the RFP's rules were frozen
LEVEL = 12  # zstd
WINDOW_LOG = 27  # long enough to see that MLPerf's copies of the logs are copies
Writer = Callable[[Answer], str]  # makes the report


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to build, from what, how strictly."""

    template: bytes  # the RFP's workbook
    reference: str | None  # where mlcommons/training is; None: overlay alone (drafts only)
    draft: bool
    redact: Key | None = None
    rcp_file: Path | None = None  # convergence points that `launcher rcp` made
    patches: Path = paths.PATCHES


def build(
    answer: Answer, order: Order, out: Path, *, report: Writer, referee: Referee
) -> list[Finding]:
    """Write the response and return what a reader should know.

    Raises ResponseError for rehearsals, and while errors stand unless it is a draft.
    """
    system = _require_whole(answer)
    with tempfile.TemporaryDirectory(prefix="launcher-response-") as scratch:
        root = Path(scratch) / "response"
        findings = stage(answer, system, order, root, report=report)
        findings += _own_verdict(root, referee, order)
        _require_valid(findings, order)
        findings += packagecheck.check(root / package.MLPERF / slug(system.submitter))
        _require_valid(findings, order)
        pack(root, out)
    return findings


def _require_valid(findings: list[Finding], order: Order) -> None:
    errors = [finding for finding in findings if finding.severity is Severity.ERROR]
    if errors and not order.draft:
        raise ResponseError(
            f"{len(errors)} errors stand, the first: {errors[0].where}: "
            f"{errors[0].message.rstrip('.')}; mend them, or build a --draft to look at."
        )


def _require_whole(answer: Answer) -> System:
    if answer.rehearsal:
        raise ResponseError("these runs are a rehearsal, which is never a result; run for real.")
    if missing := [each.value for each in Benchmark if each not in answer.sets]:
        raise ResponseError(f"there are no runs of {missing[0]}; the RFP asks for both benchmarks.")
    if answer.system is None:
        raise ResponseError(
            "these logs come without plan and ledger, so nothing says of which system they are; "
            "name its file with --system, for a --draft. A response needs runs of `launcher run`."
        )
    return answer.system


def stage(
    answer: Answer, system: System, order: Order, root: Path, *, report: Writer
) -> list[Finding]:
    """Lay out the response as a folder, manifest included."""
    findings: list[Finding] = []
    submission = root / package.MLPERF / slug(system.submitter)
    _write_json(submission / "systems" / f"{system.name}.json", system.mlperf_description())
    _write(submission / "README.md", _readme("mlperf", answer, system))
    for benchmark, runs in answer.sets.items():
        findings += _stage_source(submission, benchmark, runs, order)
        results = submission / "results" / system.name / benchmark.value
        for number, run in enumerate(runs.scored):
            _copy(run.log_file, results / f"result_{number}.txt")
        if runs.plan is None:
            findings.append(_without_ledger(benchmark))
            continue
        _copy_set(runs, root / package.LEDGER / benchmark.value)
        _stage_solution(root / package.SOLUTION / benchmark.value, runs, runs.plan)
    filetree.write_folder(filetree.read_folder(order.patches), root / package.PATCHES)
    if order.rcp_file is not None:
        _copy(order.rcp_file, root / package.RCPS)
    _write_json(root / package.CHECK, [_finding(each) for each in answer.findings])
    _write_json(root / package.SCORES, numbers.statement(answer.sets, answer.rcps))
    _write_json(root / package.SOLUTION / "versions.json", _versions())
    filled, notes = workbook.fill(order.template, tab.of(answer, partly=order.draft))
    _write(root / package.WORKBOOK, filled)
    _write(root / package.REPORT, report(answer).encode())
    _write(root / "README.md", _readme("response", answer, system))
    if order.draft:
        _write(root / package.DRAFT, b"A draft to look at. It is not a response.\n")
    if order.redact is not None:
        redaction.redact(root, order.redact)
        findings += redaction.left(root, order.redact)
    _write(root / package.MANIFEST, package.manifest(root).encode())
    return [*answer.findings, *findings, *notes]


def _finding(finding: Finding) -> dict[str, str]:
    return {
        "severity": finding.severity.value,
        "rule": finding.rule,
        "where": finding.where,
        "message": finding.message,
    }


def _stage_source(
    submission: Path, benchmark: Benchmark, runs: RunSet, order: Order
) -> list[Finding]:
    """Write the modified source: the whole tree, its diff, and what builds and runs it."""
    name = runs.plan.implementation if runs.plan else package.IMPLEMENTATION
    folder = submission / "benchmarks" / benchmark.value / "implementations" / name
    findings = []
    with tempfile.TemporaryDirectory(prefix="launcher-tree-") as scratch:
        tree = Path(scratch) / "tree"
        if order.reference is None:
            patchqueue.materialise_overlay(benchmark, tree, patches=order.patches)
            findings.append(_overlay_only(benchmark))
        else:
            patchqueue.materialise(benchmark, tree, place=order.reference, patches=order.patches)
            diff = git.git(tree, "diff", "--full-index", patchqueue.REFERENCE_REF, "HEAD")
            _write(folder / "changes.diff", diff)
        filetree.write_folder(filetree.read_folder(tree), folder / package.SOURCE)
    for path in (paths.ROOT / f"Dockerfile.{benchmark.value}", paths.COMPOSE):
        if path.is_file():
            _copy(path, folder / path.name)
    if runs.plan is not None:
        _copy(runs.folder / runset.HYPERPARAMETERS, folder / runset.HYPERPARAMETERS)
    _write(folder / "README.md", pages.render("implementation-README.md.j2", benchmark=benchmark))
    return findings


def _overlay_only(benchmark: Benchmark) -> Finding:
    return Finding(
        rule="source.overlay-only",
        where=f"source of {benchmark.value}",
        message="The reference's own files are missing, since no --reference was given; the RFP "
        "asks for the modified source.",
    )


def _without_ledger(benchmark: Benchmark) -> Finding:
    return Finding(
        rule="evidence.ledger",
        where=benchmark.value,
        message="These logs come without plan and ledger: nothing shows that no run was left out.",
    )


def _copy_set(runs: RunSet, target: Path) -> None:
    """Copy a whole run set: every run and attempt, scored or not."""
    for name, path in package.files(runs.folder):
        if not any(part.startswith(".") for part in Path(name).parts):
            _copy(path, target / name)


def _stage_solution(folder: Path, runs: RunSet, plan: Plan) -> None:
    _copy(runs.folder / runset.PLAN, folder / runset.PLAN)
    _copy(runs.folder / runset.HYPERPARAMETERS, folder / runset.HYPERPARAMETERS)
    if plan.dataset is not None:
        _write_json(folder / "dataset.json", plan.dataset)
    _write_json(folder / "image.json", plan.image)


def _versions() -> dict[str, str]:
    return {
        "launcher": __version__,
        "mlperf-logging": metadata.version("mlperf-logging"),
        "ruleset": RULESET,
        "training_policies": POLICY,
    }


def _readme(name: str, answer: Answer, system: System) -> bytes:
    stated = numbers.statement(answer.sets, answer.rcps)
    return pages.render(
        f"{name}-README.md.j2", answer=answer, system=system, numbers=stated, layout=package
    ).encode()


def _own_verdict(root: Path, referee: Referee, order: Order) -> list[Finding]:
    """Look at the response as its receiver will."""
    found = verify.verify(root, referee=referee, reference=order.reference, key=order.redact)
    return [
        Finding(rule=f"verify.{claim.name}", where=claim.where, message=claim.message)
        for claim in found.claims
        if claim.verdict is Verdict.DIFFERS and claim.name != "draft"
    ]


def pack(root: Path, out: Path) -> None:
    """Write a folder as tar.zst; the same files always give the same bytes."""
    partial = out.with_name(f".{out.name}.partial")
    parameters = zstandard.ZstdCompressionParameters.from_level(
        LEVEL, window_log=WINDOW_LOG, enable_ldm=True
    )
    try:
        with (
            partial.open("wb") as target,
            zstandard.ZstdCompressor(compression_params=parameters).stream_writer(target) as packed,
            tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
        ):
            for name, path in package.files(root):
                _add(archive, f"response/{name}", path)
        partial.replace(out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ResponseError(f"{out} cannot be written: {error.strerror}.") from error


def _add(archive: tarfile.TarFile, name: str, path: Path) -> None:
    info = tarfile.TarInfo(name)
    info.size = path.stat().st_size
    info.mtime = EPOCH
    info.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
    with path.open("rb") as source:
        archive.addfile(info, source)


def slug(text: str) -> str:
    """Return a folder name that MLCommons' repository checker accepts."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._-") or "submitter"


def _write(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        content.encode(errors="backslashreplace") if isinstance(content, str) else content
    )


def _write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - any JSON
    _write(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
