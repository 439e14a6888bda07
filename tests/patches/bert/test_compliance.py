"""The referee's tools on this program's log at the real configuration.

TEST DATA: the loop, the keys and the configuration are the program's; updates and evaluations are
stood in for, with accuracies of the published shape, because a real run takes eight GPUs.
"""

import io
import subprocess
import sys
import types

import torch
from bert import train
from bert.config import load

from pytorch_common.mlperf import RunLog
from tests.patches.bert.runs import records, render

ROWS_A_STEP = 8 * 48


class StandIn:
    """An update that computes nothing, batches that hold nothing, and known evaluations."""

    def __init__(self, accuracies):
        self.device, self.ranks, self.loss_sums = torch.device("cpu"), 1, torch.ones(2)
        self.accuracies = iter(accuracies)

    def update(self, _):
        return None

    def __next__(self):
        return None, 2 * ROWS_A_STEP

    def __call__(self):
        return types.SimpleNamespace(accuracy=next(self.accuracies))


def log_of(tmp_path, seed, accuracies, monkeypatch):
    """Return the text of a run's log as the launcher would keep it."""
    file = tmp_path / "hyperparameters.yaml"
    file.write_text(render(rehearsal=False))
    config = load(file)
    monkeypatch.setattr(train, "to_device", lambda batch, _: batch)
    stand_in = StandIn(accuracies)
    stream = io.StringIO()
    log = RunLog(rank=0, stream=stream)
    log.event("cache_clear", value=True)  # the launcher's line
    log.start("init_start")
    train.announce(config, seed, 10_000, log)
    log.end("init_stop")
    log.run_start()

    class Update(StandIn):
        __call__ = StandIn.update

    train.train(config, Update([]), stand_in, stand_in, log)
    return stream.getvalue()


def referee(tool, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", f"mlperf_logging.{tool}", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def rising(evaluations):
    """Accuracies of as many evaluations, of which the last passes."""
    return [0.38 + 0.33 * n / evaluations for n in range(evaluations - 1)] + [0.7206]


def test_the_compliance_checker_accepts_a_converged_run(tmp_path, monkeypatch):
    file = tmp_path / "result_0.txt"
    file.write_text(log_of(tmp_path, 7, rising(16), monkeypatch))
    status, text = referee(
        "compliance_checker", "--ruleset", "4.0.0", "--werror", "--log_output", tmp_path / "c", file
    )
    assert status == 0, text
    assert "SUCCESS" in text


def test_every_key_that_is_wanted_once_is_there_once(tmp_path, monkeypatch):
    log = records(log_of(tmp_path, 7, rising(16), monkeypatch))
    keys = [record["key"] for record in log]
    once = {
        key for key in keys if key.startswith(("submission", "opt_", "global_", "num_", "max_"))
    }
    once |= {"seed", "train_samples", "eval_samples", "gradient_accumulation_steps"}
    once |= {"run_start", "run_stop", "init_start", "init_stop", "start_warmup_step"}
    assert {key: keys.count(key) for key in once} == dict.fromkeys(once, 1)
    assert keys.count("block_start") == keys.count("block_stop") == 16
    evaluated = [r["metadata"]["epoch_num"] for r in log if r["key"] == "eval_accuracy"]
    assert evaluated[0] == 150_528  # 196 steps of 768: the first that reaches 150,000
    assert evaluated == sorted(evaluated)


def test_a_run_that_never_gets_there_is_aborted_at_the_end_of_the_schedule(tmp_path, monkeypatch):
    log = records(log_of(tmp_path, 7, [0.7199] * 19, monkeypatch))
    (stop,) = [record for record in log if record["key"] == "run_stop"]
    assert stop["metadata"]["status"] == "aborted"
    assert stop["metadata"]["epoch_num"] == 3680 * 768


def test_the_rcp_checker_accepts_ten_runs(tmp_path, monkeypatch):
    folder = tmp_path / "results/system/bert"
    folder.mkdir(parents=True)
    for index in range(10):
        text = log_of(tmp_path, 100 + index, rising(16 + index % 3), monkeypatch)
        (folder / f"result_{index}.txt").write_text(text)
    status, text = referee(
        "rcp_checker",
        folder,
        *("--rcp_usage", "training", "--rcp_version", "4.0.0", "--rcp_pass", "pruned_rcps"),
        *("--log_output", tmp_path / "r"),
    )
    assert status == 0, text
    assert "RCP Interpolation, RCP test PASSED" in text
