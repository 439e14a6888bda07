import io
import shutil

import numpy as np
import pytest
from bert import train
from bert.config import load
from bert.packing import RowStore, write_rows

from launcher import rehearsal
from launcher.core.benchmark import Benchmark
from pytorch_common.failure import DivergedError, RunError
from pytorch_common.mlperf import RunLog
from tests.patches.bert.runs import losses, records, render, run_program, values

SHORT = {"opt_learning_rate_training_steps": 8}
BLOCKS = {"eval_every_samples": 128, "target_accuracy": 0.9}


@pytest.fixture(scope="session")
def prose(tmp_path_factory):
    """The rehearsal's own data."""
    return rehearsal.prepare(Benchmark.BERT, tmp_path_factory.mktemp("data") / "bert")


@pytest.fixture(scope="session")
def outcome(prose, tmp_path_factory):
    """One short run that cannot reach its target: two blocks of four steps."""
    text = render(hyperparameters=SHORT, training=BLOCKS)
    return run_program(tmp_path_factory.mktemp("run"), text, prose)


def keys(log):
    return [record["key"] for record in log]


def metadata(log, key):
    return [record["metadata"] for record in log if record["key"] == key]


def test_a_rehearsal_learns_english_up_to_its_target(prose, tmp_path):
    status, log, stderr = run_program(tmp_path, render(), prose, seed=7)
    assert status == 0, stderr
    (stop,) = metadata(log, "run_stop")
    assert stop["status"] == "success"
    (untrained,) = values(log, "untrained_accuracy")
    assert untrained < 0.02
    assert values(log, "eval_accuracy")[-1] >= 0.1
    assert stop["epoch_num"] == metadata(log, "eval_accuracy")[-1]["epoch_num"]


def test_a_run_below_its_target_ends_by_itself_as_aborted(outcome):
    status, log, _ = outcome
    assert status == 0
    (stop,) = metadata(log, "run_stop")
    assert stop["status"] == "aborted"
    assert "below the target 0.9" in stop["reason"]


def test_every_block_is_closed_and_evaluated_at_the_samples_really_trained(outcome, prose):
    _, log, _ = outcome
    assert keys(log).count("block_start") == keys(log).count("block_stop") == 2
    trained = [entry["epoch_num"] for entry in metadata(log, "eval_accuracy")]
    rows = RowStore(prose / "train")
    per_row = rows.count_sequences() / len(rows)
    assert trained == [entry["samples_count"] for entry in metadata(log, "block_stop")]
    assert trained[-1] == pytest.approx(8 * 16 * per_row, rel=0.1)


def test_the_same_seed_gives_the_same_curve_to_the_bit(outcome, prose, tmp_path):
    text = render(hyperparameters=SHORT, training=BLOCKS)
    _, again, _ = run_program(tmp_path, text, prose)
    assert losses(again) == losses(outcome[1])
    assert values(again, "eval_accuracy") == values(outcome[1], "eval_accuracy")


@pytest.mark.parametrize("sharded", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_two_ranks_make_the_curve_of_one_rank_with_two_micro_batches(prose, tmp_path, sharded):
    gentle = SHORT | {"opt_base_learning_rate": 0.005}
    twice = gentle | {"gradient_accumulation_steps": 2}
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    status, one, stderr = run_program(
        tmp_path / "one", render(hyperparameters=twice, training=BLOCKS), prose
    )
    assert status == 0, stderr
    both = render(hyperparameters=gentle, training=BLOCKS | {"sharded_optimizer": sharded})
    status, two, stderr = run_program(tmp_path / "two", both, prose, ranks=2)
    assert status == 0, stderr
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)
    assert values(two, "eval_accuracy") == pytest.approx(values(one, "eval_accuracy"), abs=1e-3)
    assert (
        metadata(two, "eval_accuracy")[-1]["epoch_num"]
        == (metadata(one, "eval_accuracy")[-1]["epoch_num"])
    )


@pytest.mark.slow
def test_four_ranks_with_a_sharded_optimizer_make_the_curve_of_an_unsharded_one(prose, tmp_path):
    gentle = SHORT | {"opt_base_learning_rate": 0.005}
    curves = []
    for sharded in (True, False):
        text = render(hyperparameters=gentle, training=BLOCKS | {"sharded_optimizer": sharded})
        status, log, stderr = run_program(tmp_path, text, prose, ranks=4)
        assert status == 0, stderr
        curves.append(losses(log))
    assert curves[0] == pytest.approx(curves[1], rel=1e-6)


@pytest.mark.slow
def test_one_and_two_ranks_learn_alike_when_the_loss_is_averaged_otherwise(
    outcome, prose, tmp_path
):
    text = render(hyperparameters=SHORT, training=BLOCKS)
    _, two, _ = run_program(tmp_path, text, prose, ranks=2)
    assert losses(two) == pytest.approx(losses(outcome[1]), rel=0.02)


def run_here(tmp_path, text, data, **more):
    """Run in this process; return the log's records and what ended the run, if anything did."""
    file = tmp_path / "hyperparameters.yaml"
    file.write_text(text)
    stream = io.StringIO()
    arguments = train.Arguments(
        **{
            "hyperparameters": file,
            "data": data,
            "results": tmp_path,
            "seed": 1,
            "checkpoint": None,
        }
        | more
    )
    try:
        train.run(load(file), arguments, RunLog(rank=0, stream=stream))
    except RunError as error:
        return records(stream.getvalue()), error
    return records(stream.getvalue()), None


def test_a_rate_that_explodes_ends_the_run_with_the_reason(prose, tmp_path):
    wild = SHORT | {"opt_base_learning_rate": 1e30}
    _, error = run_here(tmp_path, render(hyperparameters=wild, training=BLOCKS), prose)
    assert isinstance(error, DivergedError)  # `guarded` turns it into run_stop "aborted", status 0
    assert "not finite" in str(error)


@pytest.mark.parametrize(
    ("hyperparameters", "training", "sentence"),
    [
        ({}, {"eval_samples": 9999}, "training.eval_samples is 9999; prepare exactly that many"),
        ({"max_sequence_length": 64}, {}, "rows have 128 tokens, but"),
        ({"global_batch_size": 80_000}, {}, "rows and one batch takes 40000"),
        ({}, {"sequences_per_row": 1}, "use 1 for unpacked rows and 2 for packed ones"),
        ({}, {"attention": "flash-attn"}, "needs a GPU; use auto or sdpa"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_clock(
    prose, tmp_path, hyperparameters, training, sentence
):
    text = render(hyperparameters=hyperparameters, training=training)
    log, error = run_here(tmp_path, text, prose)
    assert sentence in str(error)
    assert "run_start" not in keys(log)


def test_a_checkpoint_that_is_not_there_is_refused_before_the_clock(prose, tmp_path):
    log, error = run_here(tmp_path, render(), prose, checkpoint=tmp_path)
    assert "model.safetensors: cannot be read" in str(error)
    assert "run_start" not in keys(log)


def test_data_without_a_manifest_is_refused_before_the_clock(tmp_path):
    log, error = run_here(tmp_path, render(), tmp_path)
    assert "dataset.json: is no data manifest" in str(error)
    assert "run_start" not in keys(log)


def test_rows_of_another_vocabulary_stop_the_run_with_one_sentence(prose, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(prose, data)
    rows = RowStore(data / "train").take(np.arange(64))
    rows["tokens"][:, 1] = 300
    write_rows(data / "train", shard=0, rows=rows)
    _, error = run_here(tmp_path, render(), data)
    assert "token 300 is of another vocabulary, the model's has 256" in str(error)


def test_a_refusal_is_one_sentence_and_exit_status_2(prose, tmp_path):
    status, log, stderr = run_program(tmp_path, render(training={"eval_samples": 9999}), prose)
    assert status == 2
    (line,) = stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert "run_start" not in keys(log)
