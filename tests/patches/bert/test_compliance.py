"""The referee's tools on this program's log at the real configuration.

TEST DATA: the loop, the keys and the configuration are the program's; updates and evaluations are
stood in for, with accuracies of the published shape, because a real run takes eight GPUs.
"""

import io
import types

import torch
from bert import train
from bert.config import load

from pytorch_common.mlperf import RunLog
from tests.patches import referee
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


def rising(evaluations):
    """Accuracies of as many evaluations, of which the last passes."""
    return [0.38 + 0.33 * n / evaluations for n in range(evaluations - 1)] + [0.7206]


def test_the_compliance_checker_accepts_a_converged_run(tmp_path, monkeypatch):
    log = log_of(tmp_path, 7, rising(16), monkeypatch)
    assert not referee.complaints_of_compliance(log, tmp_path)


def test_every_key_that_is_wanted_once_is_there_once(tmp_path, monkeypatch):
    log = records(log_of(tmp_path, 7, rising(16), monkeypatch))
    once = referee.counts(log, prefixes=("opt_", "num_", "max_", "start_"))
    assert set(once.values()) == {1}
    keys = [record["key"] for record in log]
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
    logs = [
        log_of(tmp_path, 100 + index, rising(16 + index % 3), monkeypatch) for index in range(10)
    ]
    assert not referee.complaints_of_rcp(logs, "bert", tmp_path)
