"""The referee's tools on this program's log at the real configuration.

TEST DATA: the loop, the keys and the configuration are the program's; steps and evaluations are
stood in for, with accuracies of the published shape, because a real run takes eight GPUs.
"""

import io
import types

import pytest
import torch

from image_classification.pytorch import config, train
from pytorch_common.mlperf import RunLog
from tests.patches import referee
from tests.patches.resnet import runs

ACCURACIES = {3: 0.32, 7: 0.45, 11: 0.52, 15: 0.57, 19: 0.62, 23: 0.67, 27: 0.72, 31: 0.755}
LAST = 0.7603  # at epoch 35


class StandIn:
    """A step that computes nothing and an evaluation that knows its result."""

    def __init__(self, accuracies):
        self.learning_rate, self.loss = torch.zeros(()), torch.ones(1)
        self.accuracies = iter(accuracies)

    def __call__(self, *_):
        return None

    def load(self, *_):
        return None

    def evaluate(self, *_):
        return next(self.accuracies)


def log_of(document, seed, accuracies):
    """Return the text of a run's log as the launcher would keep it."""
    read = config.parse(document)
    stand_in = StandIn(accuracies)
    run = types.SimpleNamespace(
        step=stand_in,
        evaluation=stand_in.evaluate,
        training_data=stand_in,
        evaluation_data=stand_in,
        evaluation_batches=16,
        loss_limit=69.0,
    )
    stream = io.StringIO()
    log = RunLog(rank=0, stream=stream)
    log.event("cache_clear", value=True)  # the launcher's line
    log.start("init_start")
    train.announce(log, read, seed)
    log.end("init_stop")
    log.run_start()
    train.train(read, run, log)
    return stream.getvalue()


@pytest.fixture(params=["lars", "sgd"])
def either(request, real_document):
    if request.param == "sgd":
        values = real_document["hyperparameters"]
        kept = {key: value for key, value in values.items() if key not in runs.LARS}
        real_document["hyperparameters"] = kept | runs.SGD
    return real_document


def test_the_compliance_checker_accepts_a_converged_run(either, tmp_path):
    log = log_of(either, 7, [*ACCURACIES.values(), LAST])
    assert not referee.complaints_of_compliance(log, tmp_path)


def test_every_key_that_is_wanted_once_is_there_once(real_document):
    log = runs.records(log_of(real_document, 7, [*ACCURACIES.values(), LAST]))
    assert set(referee.counts(log, prefixes=("lars", "model", "opt")).values()) == {1}
    keys = [record["key"] for record in log]
    assert keys.count("block_start") == keys.count("block_stop") == 9
    assert keys.count("tracked_stats") == 35


def test_a_run_that_never_gets_there_is_aborted_after_its_last_evaluation(real_document):
    text = log_of(real_document, 7, [*ACCURACIES.values(), 0.7589, 0.7589])
    (stop,) = [record for record in runs.records(text) if record["key"] == "run_stop"]
    assert stop["metadata"]["status"] == "aborted"
    assert stop["metadata"]["epoch_num"] == 39


def test_the_rcp_checker_accepts_five_runs(real_document, tmp_path):
    late = [[], [], [], [], [0.7588]]  # one run needs an evaluation more
    logs = [
        log_of(real_document, 100 + index, [*ACCURACIES.values(), *more, LAST])
        for index, more in enumerate(late)
    ]
    assert not referee.complaints_of_rcp(logs, "resnet", tmp_path)
