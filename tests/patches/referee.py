"""What mlperf-logging says of logs, and what every log must hold."""

import subprocess
import sys


def complaints_of_compliance(log, scratch):
    """Return what the compliance checker of round 4.0.0 has against the text of a log, or ""."""
    file = scratch / "result_0.txt"
    file.write_text(log)
    arguments = ("--ruleset", "4.0.0", "--werror", "--log_output", scratch / "compliance", file)
    return _complaints("compliance_checker", *arguments, word="SUCCESS")


def complaints_of_rcp(logs, benchmark, scratch):
    """Return what the checker of reference convergence points has against a run set, or ""."""
    folder = scratch / "results/system" / benchmark
    folder.mkdir(parents=True)
    for index, log in enumerate(logs):
        (folder / f"result_{index}.txt").write_text(log)
    return _complaints(
        "rcp_checker",
        folder,
        *("--rcp_usage", "training", "--rcp_version", "4.0.0", "--rcp_pass", "pruned_rcps"),
        *("--log_output", scratch / "rcp"),
        word="RCP Interpolation, RCP test PASSED",
    )


def counts(log, *, prefixes):
    """Return how often each key stands in a log's records, of those wanted exactly once."""
    keys = [record["key"] for record in log]
    once = {key for key in keys if key.startswith(("submission", "global_", *prefixes))}
    once |= {"seed", "train_samples", "eval_samples", "gradient_accumulation_steps"}
    once |= {"run_start", "run_stop", "init_start", "init_stop"}
    return {key: keys.count(key) for key in once}


def _complaints(tool, *arguments, word):
    done = subprocess.run(
        [sys.executable, "-m", f"mlperf_logging.{tool}", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    text = done.stdout + done.stderr
    return "" if done.returncode == 0 and word in text else text or "no output"
