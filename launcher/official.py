"""Run sets to what mlperf-logging 4.1.68, the referee, says about them: findings and RCP factors.

It never re-implements a rule: it feeds the package safely and translates its words. The package
runs in one child process for all files, on copies, with limits of time and memory
(launcher.referee).
"""

import json
import os
import subprocess  # noqa: TID251 - the referee is a program of its own
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from launcher.core.benchmark import Benchmark
from launcher.core.findings import Finding, Severity
from launcher.core.plan import MARK, RULESET
from launcher.errors import ConfigError, LogError
from launcher.runset import Run, RunSet

TIME_LIMIT_S = 120  # for each run set
MEMORY_BYTES = 8 << 30
MAX_LINE = 64 << 20  # of a log line; the package reads lines whole
MIN_SAMPLES = 100_000  # an epoch_num below it counts epochs, not BERT's samples
_TOKEN = b":::MLLOG "
_CHILD = Path(__file__).with_name("referee.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Convergence:
    """How a set's epochs or samples compare with the reference points."""

    passed: bool
    factor: float | None  # minutes x factor are the normalised minutes; None where unknown
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What the referee says about one run set."""

    findings: tuple[Finding, ...]
    compliant: tuple[bool, ...]  # for each run of the set, in its order
    convergence: Convergence | None  # None where no window of runs is scored


def judge(
    sets: Sequence[RunSet], *, rcp_file: Path | None = None, compliance: bool = True
) -> tuple[Opinion, ...]:
    """Ask the referee about whole run sets, all in one child process.

    `rcp_file` replaces the reference points of the package; without `compliance`, only convergence
    is judged and every run counts as compliant. Raises LogError when a log or that
    file cannot be read or the referee does not answer.
    """
    if not sets:
        return ()
    with tempfile.TemporaryDirectory(prefix="launcher-referee-") as scratch:
        folder = Path(scratch)
        copies = [_copy(runs, folder / f"set_{n}") for n, runs in enumerate(sets)]
        custom = _copy_rcp(rcp_file, folder) if rcp_file else None
        asked = [_request(runs, folder / f"set_{n}", custom) for n, runs in enumerate(sets)]
        answers = _ask(folder, asked, compliance=compliance)
    return tuple(
        _opinion(runs, lines, answer)
        for runs, lines, answer in zip(sets, copies, answers, strict=True)
    )


def convergence(runs: RunSet, *, rcp_file: Path | None = None) -> Convergence | None:
    """Ask for the RCP factor of one set; None where it has no scored window."""
    return judge([runs], rcp_file=rcp_file, compliance=False)[0].convergence


def _request(runs: RunSet, folder: Path, rcp_file: Path | None) -> dict[str, Any]:
    return {
        "files": [str(folder / f"{n}.txt") for n in range(len(runs.runs))],
        "scored": str(folder / "scored") if runs.scored and not runs.rehearsal else "",
        "rcp_file": str(rcp_file) if rcp_file else "",
        "train_samples": _counts_train_samples(runs),
    }


def _copy(runs: RunSet, folder: Path) -> list[list[int]]:
    """Copy the MLLOG lines of every log; return the number in the log of each line copied."""
    scored = folder / "scored"
    scored.mkdir(parents=True)
    numbers = []
    for n, run in enumerate(runs.runs):
        copy = folder / f"{n}.txt"
        with copy.open("wb") as target:
            numbers.append([_put(target, line, number) for number, line in _lines(run.log_file)])
        if run in runs.scored:
            os.link(copy, scored / f"result_{n}.txt")
    return numbers


def _put(target: Any, line: bytes, number: int) -> int:  # noqa: ANN401 - an open file
    target.write(line + b"\n")
    return number


def _lines(log: Path) -> Iterator[tuple[int, bytes]]:
    """Return the lines that the package looks at, with their physical numbers from 1."""
    try:
        with log.open("rb") as source:
            number = 0
            while line := source.readline(MAX_LINE):
                number += 1
                endless = len(line) == MAX_LINE and not line.endswith(b"\n")
                whole = _cut(line, source) if endless else line
                parts = whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
                yield from ((number, part) for part in parts if _TOKEN in part)
    except OSError as error:
        raise LogError(f"{log}: cannot be read: {error.strerror}.") from error


def _cut(line: bytes, source: BinaryIO) -> bytes:
    """Skip the rest of an endless line: chatter becomes nothing, a record one that cannot be read.

    So it fails the log it stands in, and no other.
    """
    found, end = _TOKEN in line, line[-len(_TOKEN) :]
    while not end.endswith(b"\n") and (piece := source.readline(MAX_LINE)):
        found = found or _TOKEN in end + piece
        end = (end + piece)[-len(_TOKEN) :]
    return _TOKEN + b" in a line of more than 64 MiB\n" if found else b"\n"


def _copy_rcp(rcp_file: Path, folder: Path) -> Path:
    copy = folder / "rcps.json"
    try:
        data = rcp_file.read_bytes()
        json.loads(data)
    except (OSError, ValueError, RecursionError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            f"--rcp-file {rcp_file}: is not a readable JSON file of RCPs: {what}."
        ) from error
    if MARK.encode() in data:  # written by launcher.rcp
        raise ConfigError(
            f"--rcp-file {rcp_file}: was made by a rehearsal; only real runs make points."
        )
    copy.write_bytes(data)
    return copy


def _counts_train_samples(runs: RunSet) -> bool:
    """Say whether this set's epoch_num cannot be samples, so that train_samples must serve."""
    if runs.benchmark is not Benchmark.BERT or runs.rehearsal:
        return False  # a rehearsal's few samples are samples
    counted = [run.result.progress or 0 for run in runs.scored if run.result.converged]
    return bool(counted) and max(counted) < MIN_SAMPLES


def _ask(folder: Path, asked: list[dict[str, Any]], *, compliance: bool) -> list[dict[str, Any]]:
    """Run the child and return its answers."""
    request = {
        "ruleset": RULESET,
        "memory_bytes": MEMORY_BYTES,
        "compliance": compliance,
        "sets": asked,
    }
    limit_s = TIME_LIMIT_S * len(asked)
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(_CHILD)],
            input=json.dumps(request).encode(),
            cwd=folder,
            env=os.environ | threads,
            capture_output=True,
            timeout=limit_s,
            check=False,
        )
        return list(json.loads(done.stdout)["sets"])
    except subprocess.TimeoutExpired as error:
        raise LogError(
            f"mlperf-logging did not judge these logs within {limit_s} s; look for an enormous one."
        ) from error
    except (ValueError, KeyError) as error:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise LogError(
            f"mlperf-logging gave no verdict ({' '.join(last)[:300] or done.returncode});"
            " is mlperf-logging 4.1.68 installed?"
        ) from error


def _opinion(runs: RunSet, lines: list[list[int]], answer: dict[str, Any]) -> Opinion:
    problems = answer["files"]
    findings = [
        _finding(run, numbers, problem)
        for run, numbers, found in zip(runs.runs, lines, problems, strict=True)
        for problem in found
    ]
    return Opinion(
        findings=(*findings, *_seeds(runs, answer["seeds"]), *_note_samples(runs)),
        compliant=tuple(all(each["warning"] for each in found) for found in problems),
        convergence=Convergence(**answer["rcp"]) if answer["rcp"] else None,
    )


def _finding(run: Run, numbers: list[int], problem: dict[str, Any]) -> Finding:
    """Translate a problem; mlperf-logging counts MLLOG lines from 0, we count all from 1."""
    index = problem["line"]
    where = place(run)
    if index is not None and index < len(numbers):
        where += f":{numbers[index]}"
    return Finding(
        rule=f"compliance.{problem['key']}",
        where=where,
        message=f"mlperf-logging {RULESET}: {problem['key']}: {problem['text']}",
        severity=Severity.WARNING if problem["warning"] else Severity.ERROR,
    )


def place(run: Run) -> str:
    """Name a log within its set."""
    if run.folder.name.startswith("run_"):
        return f"{run.folder.name}/{run.log_file.name}"
    return run.log_file.name


def _seeds(runs: RunSet, complaints: list[str]) -> Iterator[Finding]:
    """Translate the seed checker's complaints, which name our copies."""
    for complaint in complaints:
        text = complaint
        for n, run in reversed(list(enumerate(runs.runs))):
            text = _rename(text, n, place(run))
        yield Finding(rule="seed.official", where=runs.folder.name, message=text)


def _rename(text: str, n: int, name: str) -> str:
    words = text.split(" ")
    return " ".join(name if word.rstrip(".").endswith(f"/{n}.txt") else word for word in words)


def _note_samples(runs: RunSet) -> Iterator[Finding]:
    if _counts_train_samples(runs):
        yield Finding(
            rule="rcp.samples",
            where=runs.folder.name,
            message="epoch_num counts epochs here; samples to converge were taken from"
            " train_samples, which only holds if each log counts what was really trained",
            severity=Severity.WARNING,
        )
