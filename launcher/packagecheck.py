"""MLCommons' own checkers over a submission folder: a folder to findings.

Each runs as a child process, with a time limit, on a copy, in a folder of its own: they write into
what they check and into the working directory. Their exit codes are 0 whatever they find, so only
their text counts. mlperf-logging 4.1.68; see docs/evaluator.md.
"""

import re
import shutil
import subprocess  # noqa: TID251 - the checkers are programs of their own
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.core.findings import Finding, Severity
from launcher.core.plan import RULESET
from launcher.errors import ResponseError

TIME_LIMIT_S = 300
_SAID = re.compile(r"^(ERROR|WARNING) - (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checker:
    """One checker and the text by which it says that all is well."""

    module: str
    arguments: tuple[str, ...]
    success: str


def check(submission: Path) -> list[Finding]:
    """Return what package, repository and system description checker say about a folder.

    `submission` is `<SUBMITTER>/` with systems/, benchmarks/ and results/ in it.
    """
    with tempfile.TemporaryDirectory(prefix="launcher-checkers-") as scratch:
        copy = Path(scratch) / submission.name
        shutil.copytree(submission, copy)
        findings = []
        # the repository first: the package checker leaves files behind
        for checker in _checkers(copy):
            findings += _run(checker, Path(scratch))
        return findings


def _checkers(copy: Path) -> list[Checker]:
    usage = ("training", RULESET)
    systems = sorted((copy / "systems").glob("*.json"))
    return [
        Checker(module="repo_checker", arguments=(str(copy), *usage), success="ALL CHECKS PASSED."),
        *(
            Checker(
                module="system_desc_checker",
                arguments=(str(path), *usage),
                success="System description checker passed for",
            )
            for path in systems
        ),
        Checker(
            module="package_checker",
            arguments=(str(copy), *usage),
            success="PACKAGE CHECKER FOUND NO ERRORS, SUCCESS !",
        ),
    ]


def _run(checker: Checker, scratch: Path) -> list[Finding]:
    command = [sys.executable, "-m", f"mlperf_logging.{checker.module}", *checker.arguments]
    text = _text([*command, "--log_output", str(scratch / "log.txt")], scratch)
    if checker.success in text:
        return []
    said = [message.strip() for kind, message in _SAID.findall(text) if kind == "ERROR"]
    said = said or [text.strip().splitlines()[-1] if text.strip() else "it said nothing"]
    return [
        Finding(
            rule=f"package.{checker.module}",
            where=Path(checker.arguments[0]).name,
            message=f"mlperf-logging's {checker.module} says: {message[:500]}",
            severity=Severity.ERROR,
        )
        for message in said
    ]


def _text(command: Sequence[str], scratch: Path) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=scratch,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIME_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ResponseError(
            f"{command[2]} did not end within {TIME_LIMIT_S} s; look for an enormous log."
        ) from error
    return done.stdout + done.stderr
