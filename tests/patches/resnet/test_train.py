import pytest

from tests.patches.resnet.runs import SMALL, render, run_program, values


@pytest.fixture(scope="session")
def outcome(bright, tmp_path_factory):
    """One short run on it: two blocks, never reaching its target."""
    training = {"target_accuracy": 0.999, "eval_offset_epochs": 1, "max_epochs": 5}
    gentle = {"lars_opt_base_learning_rate": 1.0}
    text = render(hyperparameters=SMALL | gentle, training=training)
    return run_program(tmp_path_factory.mktemp("run"), text, bright)


def keys(log):
    return [record["key"] for record in log]


def test_a_run_below_its_target_ends_by_itself_as_aborted(outcome):
    status, log, _ = outcome
    assert status == 0
    (stop,) = [record for record in log if record["key"] == "run_stop"]
    assert stop["metadata"]["status"] == "aborted"
    assert "below the target" in stop["metadata"]["reason"]


def test_every_block_is_closed_and_evaluated_once(outcome):
    _, log, _ = outcome
    blocks = [
        (record["metadata"]["first_epoch_num"], record["metadata"]["epoch_count"])
        for record in log
        if record["key"] == "block_start"
    ]
    assert blocks == [(1, 1), (2, 4)]
    assert keys(log).count("block_stop") == keys(log).count("eval_accuracy") == len(blocks)
    evaluated = [r["metadata"]["epoch_num"] for r in log if r["key"] == "eval_accuracy"]
    assert evaluated == [1, 5]


def test_every_epoch_reports_its_throughput_and_loss(outcome):
    _, log, _ = outcome
    stats = [record for record in log if record["key"] == "tracked_stats"]
    assert [record["metadata"]["step"] for record in stats] == [1, 2, 3, 4, 5]
    assert all(record["value"]["throughput"] > 0 for record in stats)
    assert stats[-1]["value"]["loss"] < stats[0]["value"]["loss"]


def test_accuracies_are_shares_of_all_images(outcome):
    _, log, _ = outcome
    accuracies = values(log, "eval_accuracy") + values(log, "untrained_accuracy")
    assert all(
        (accuracy * SMALL["eval_samples"]) % 1 == pytest.approx(0) for accuracy in accuracies
    )
