"""A request on stdin to what mlperf-logging says about log files, on stdout. JSON both ways.

Runs only as a child process of launcher.official, in a folder of copies, with limits: the package
executes rule files named by the logs, keeps global state and raises whatever it likes on bad input.
Before a log reaches the checker, the values that name rule files are held against fixed lists, read
by the checker's own parser. It imports nothing of the launcher.
"""

import functools
import json
import logging
import math
import re
import resource
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlperf_logging.compliance_checker import mlp_compliance, mlp_parser  # noqa: TID251 - the child
from mlperf_logging.package_checker.seed_checker import SeedChecker  # noqa: TID251 - the child
from mlperf_logging.rcp_checker import rcp_checker  # noqa: TID251 - the child

USAGE = "training"
# Only these may name a rule file: a log is free to state ../ and have its own rules executed.
ALLOWED = {
    "submission_division": ("closed", "open"),
    "submission_benchmark": ("resnet", "bert"),
}
OPTIMIZERS = ("lars", "sgd")  # name ResNet's rule files
# What the package was seen to raise on logs that are not clean; none of it is a verdict.
RAISED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    re.error,
)
_CHECK = re.compile(r"CHECK for '(?P<key>.*?)' failed in line (?P<line>\d+):.*?"
                    r"^failed test: (?P<test>.*?)$", re.DOTALL | re.MULTILINE)  # fmt: skip
_KEY = re.compile(r"'([A-Za-z0-9_]+)'|Failed checks for ([A-Za-z0-9_]+)")


def main() -> None:
    """Answer the one request on stdin."""
    request = json.load(sys.stdin)
    limit = int(request["memory_bytes"])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    logging.disable(logging.CRITICAL)  # every verdict is read from the objects, not the log
    warnings.simplefilter("ignore")
    # The same verdicts in a third of the time: every checker parses each file anew, and rules are
    # read by YAML's slow loader. Nobody changes the lists that are handed out.
    mlp_parser.parse_file = functools.cache(mlp_parser.parse_file)
    mlp_compliance.yaml.BaseLoader = getattr(
        mlp_compliance.yaml, "CBaseLoader", mlp_compliance.yaml.BaseLoader
    )
    answers = [_answer(request, each) for each in request["sets"]]
    json.dump({"sets": answers}, sys.stdout)


def _answer(request: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    ruleset, compliance = request["ruleset"], request["compliance"]
    return {
        "files": [_compliance(name, ruleset) if compliance else [] for name in asked["files"]],
        "seeds": _seeds(asked["files"], ruleset) if compliance else [],
        "rcp": _rcp(asked, ruleset) if asked["scored"] else None,
    }


def _compliance(name: str, ruleset: str) -> list[dict[str, Any]]:
    """Return what is wrong with one file; nothing where it complies."""
    try:
        lines, _ = mlp_parser.parse_file(name, ruleset=ruleset)
    except RAISED as error:
        return [_problem("record", f"a record stops it ({type(error).__name__}: {error})")]
    if refused := list(_refusals(lines)):
        return refused
    checker = mlp_compliance.make_checker(USAGE, ruleset, quiet=False, werror=False)
    try:
        mlp_compliance.main(name, f"{USAGE}_{ruleset}/common.yaml", checker)
    except RAISED as error:
        said = [_problem("record", f"it stops at a value ({type(error).__name__}: {error})")]
    else:
        said = []
    mlp_compliance.enqueued_configs.clear()  # an exception leaves rules for the next file
    errors = [*checker.overwritable.values(), *checker.not_overwritable]
    said += [_translate(message) for message in errors]
    return said + [_translate(text) | {"warning": True} for text in checker.warnings.values()]


def _refusals(lines: list[Any]) -> Iterator[dict[str, Any]]:
    """Name every value that would name a rule file and may not."""
    benchmarks = [line.value["value"] for line in lines if line.key == "submission_benchmark"]
    for line in lines:
        allowed: tuple[str, ...] | None = ALLOWED.get(line.key)
        if line.key == "opt_name" and "bert" not in benchmarks:
            allowed = OPTIMIZERS
        value = line.value["value"]
        if allowed and not (isinstance(value, str) and value in allowed):
            text = f"is {str(value)[:100]!r}, which names no known rules; allowed: {allowed}"
            yield _problem(line.key, text, line.lineno)


def _translate(message: str) -> dict[str, Any]:
    """Turn one of the checker's texts into key, line and one sentence."""
    if failed := _CHECK.search(message):
        return _problem(failed["key"], f"fails {failed['test'].strip()}", int(failed["line"]))
    first = message.strip().splitlines()[0] if message.strip() else "nothing said"
    named = _KEY.search(first)
    key = (named[1] or named[2]) if named else "log"
    return _problem(key, first)


def _problem(key: str, text: str, line: int | None = None) -> dict[str, Any]:
    return {"key": key, "text": " ".join(text.split())[:300], "line": line, "warning": False}


def _seeds(names: list[str], ruleset: str) -> list[str]:
    """Return the seed checker's complaints; it stops at nothing of its own."""
    complaints = SeedChecker(ruleset)._assert_unique_seed_per_run(names)  # noqa: SLF001 - the only way to its reasons
    return [" ".join(str(text).split())[:300] for text in complaints]


def _rcp(asked: dict[str, Any], ruleset: str) -> dict[str, Any]:
    """Compare the convergence of the scored runs with the pruned reference points."""
    custom = Path(asked["rcp_file"]) if asked["rcp_file"] else None
    try:
        passed, message, factor = rcp_checker.check_directory(
            asked["scored"], USAGE, ruleset, verbose=False,
            bert_train_samples=asked["train_samples"],
            rcp_file=custom.open(encoding="utf-8") if custom else None,
            rcp_pass="pruned_rcps",  # noqa: S106 - no password
            set_scaling=True,  # into the copy; without it, it would look at /scaling.json
        )  # fmt: skip
    except RAISED as error:
        return {"passed": False, "factor": None, "message": f"{type(error).__name__}: {error}"}
    known = math.isfinite(factor) and message != "Insufficient convergence"
    return {
        "passed": bool(passed),
        "factor": float(factor) if known else None,
        "message": str(message),
    }


if __name__ == "__main__":
    main()
