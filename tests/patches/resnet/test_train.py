import io
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from image_classification.pytorch import config, train
from pytorch_common.mlperf import RunLog
from tests.patches.resnet.runs import (
    SMALL,
    command,
    environment,
    losses,
    records,
    render,
    run_program,
    values,
)

GENTLE = {"lars_opt_base_learning_rate": 1.0}
SHORT = {"target_accuracy": 0.999, "eval_offset_epochs": 1, "max_epochs": 5}


@pytest.fixture(scope="session")
def outcome(bright, tmp_path_factory):
    """One short run on it: two blocks, never reaching its target."""
    text = render(hyperparameters=SMALL | GENTLE, training=SHORT)
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


def test_weights_are_kept_only_where_asked_for(outcome, bright, tmp_path):
    text = render(hyperparameters=SMALL | GENTLE, training=SHORT | {"keep_weights": True})
    status, log, _ = run_program(tmp_path, text, bright)

    assert status == 0
    kept = load_file(tmp_path / "weights.safetensors")
    assert "head.dense.weight" in kept
    assert "stem.bn.running_mean" in kept
    assert all(tensor.isfinite().all() for tensor in kept.values())
    # Keeping them changes nothing of the run.
    assert values(log, "eval_accuracy") == values(outcome[1], "eval_accuracy")


def test_every_epoch_reports_its_throughput_and_loss(outcome):
    _, log, _ = outcome
    stats = [record for record in log if record["key"] == "tracked_stats"]
    assert [record["metadata"]["step"] for record in stats] == [1, 2, 3, 4, 5]
    assert all(record["value"]["throughput"] > 0 for record in stats)
    assert stats[-1]["value"]["loss"] < stats[0]["value"]["loss"]


def test_an_epochs_time_ends_with_its_last_step(document, monkeypatch):
    """The host is some steps ahead of a GPU: it must wait before it looks at the clock."""
    clock = [0.0]

    class Watch:
        def epoch_losses(self):
            clock[0] = 2.0  # the steps under way take that long
            return [1.0] * 10

    monkeypatch.setattr(train.time, "perf_counter", lambda: clock[0])
    stream = io.StringIO()
    train.report_epoch(RunLog(rank=0, stream=stream), config.parse(document), 1, 0.0, Watch())
    (stats,) = values(records(stream.getvalue()), "tracked_stats")
    assert stats["throughput"] == 10 * 32 / 2.0


def test_accuracies_are_shares_of_all_images(outcome):
    _, log, _ = outcome
    accuracies = values(log, "eval_accuracy") + values(log, "untrained_accuracy")
    assert all(
        (accuracy * SMALL["eval_samples"]) % 1 == pytest.approx(0) for accuracy in accuracies
    )


def test_the_same_seed_gives_the_same_losses_to_the_bit(outcome, bright, tmp_path):
    text = render(hyperparameters=SMALL | GENTLE, training=SHORT)
    _, again, _ = run_program(tmp_path, text, bright)
    assert losses(again) == losses(outcome[1])
    assert values(again, "eval_accuracy") == values(outcome[1], "eval_accuracy")


def test_a_diverged_run_is_aborted_at_once_with_its_reason(bright, tmp_path):
    wild = SMALL | {"lars_opt_base_learning_rate": 1e9, "lars_opt_learning_rate_warmup_epochs": 0}
    status, log, stderr = run_program(
        tmp_path, render(hyperparameters=wild, training=SHORT), bright
    )
    (stop,) = [record for record in log if record["key"] == "run_stop"]
    assert status == 0
    assert stop["metadata"]["status"] == "aborted"
    assert "training diverged: the loss of step" in stop["metadata"]["reason"]
    assert "training diverged" in stderr


def test_a_damaged_image_ends_a_rehearsal_before_the_clock(bright, tmp_path):
    data = tmp_path / "data"
    subprocess.run(["cp", "-r", bright, data], check=True)
    victim = data / "validation/class-03/0001.JPEG"
    victim.write_bytes(victim.read_bytes()[:400])
    text = render(hyperparameters=SMALL | GENTLE, training=SHORT)
    status, log, stderr = run_program(tmp_path, text, data)
    assert status == 2
    assert "run_start" not in keys(log)
    assert stderr.count("\n") == 1
    assert "class-03/0001.JPEG: it is cut off" in stderr


def test_more_accelerators_than_gpus_are_refused_in_one_sentence(bright, tmp_path):
    text = render(accelerators=1, hyperparameters=SMALL | GENTLE, training=SHORT)
    status, log, stderr = run_program(tmp_path, text, bright)
    assert status == 2
    assert "run_start" not in keys(log)
    assert "accelerators is 1, but 0 GPUs are visible" in stderr


@pytest.mark.slow
def test_two_ranks_train_as_one_rank_with_two_micro_batches(bright, tmp_path):
    shared = SMALL | GENTLE | {"model_bn_span": 4}
    alone, pair = tmp_path / "alone", tmp_path / "pair"
    alone.mkdir()
    pair.mkdir()
    two = shared | {"gradient_accumulation_steps": 2}
    _, one_rank, _ = run_program(alone, render(hyperparameters=two, training=SHORT), bright)
    text = render(hyperparameters=shared, training=SHORT)
    status, two_ranks, stderr = run_program(pair, text, bright, ranks=2)
    assert status == 0, stderr
    assert losses(two_ranks) == pytest.approx(losses(one_rank), rel=1e-4)
    assert keys(two_ranks).count("seed") == 1  # rank 0 alone writes


def rank_pids(torchrun):
    """Return the process ids of torchrun's children by rank."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            status = (process / "status").read_text()
            variables = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"PPid:\t{torchrun}\n" in status:
            found |= {int(v[5:]): int(process.name) for v in variables if v.startswith(b"RANK=")}
    return found


@pytest.mark.slow
def test_a_killed_rank_ends_the_program_within_a_minute_with_a_reason(bright, tmp_path):
    endless = {"target_accuracy": 0.999, "eval_offset_epochs": 1, "max_epochs": 4001}
    text = render(hyperparameters=SMALL | {"lars_opt_base_learning_rate": 0.01}, training=endless)
    process = subprocess.Popen(
        command(tmp_path, text, bright, ranks=2),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    head = []
    while "run_start" not in "".join(head[-1:]):
        head.append(process.stdout.readline())
    os.kill(rank_pids(process.pid)[1], signal.SIGKILL)
    killed = time.monotonic()
    stdout, stderr = process.communicate(timeout=100)
    assert time.monotonic() - killed < 60
    assert process.returncode != 0
    stop = records("".join(head) + stdout)[-1]
    assert stop["key"] == "run_stop"
    assert stop["metadata"]["status"] == "aborted"
    assert stop["metadata"]["reason"]
    assert "SIGKILL" in stderr
