import functools
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from bert import build, graphs, paths, synthetic
from bert.apex_lamb import ApexLamb
from bert.config import Precision
from bert.evaluate import judged
from bert.model import losses

from pytorch_common.failure import RunError
from pytorch_common.mlperf import RunLog
from tests.patches.bert import apex, runs, small
from tests.patches.bert.runs import records, values

DROPPING = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}


def prepared(config):
    made = build.prepare(config, small.ALONE, 1, None, RunLog(rank=1))
    return made.model, made.update


def example_of(config, rows=4):
    return synthetic.batch(config, rows=rows, seed=0, device=small.CPU)


def judge_of(model):
    return lambda batch: judged(model(batch), batch)


@pytest.fixture
def _eager_graphs(monkeypatch):
    """Stand-in for CUDA graphs: a replay runs the function again and puts its result in place."""

    def record(run):
        result = run()

        def replay():
            again = run()
            if result is not None:
                result.copy_(again)

        return replay, result

    monkeypatch.setattr(graphs, "record", record)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)


def test_a_variant_of_the_network_is_used_only_if_losses_and_gradients_agree():
    config = small.config()
    model, update = prepared(config)
    example = example_of(config)

    plain = update.losses

    def same(batch):
        return losses(model(batch), batch)

    def other(batch):
        masked, following = same(batch)
        return masked * 1.01, following

    assert not paths.prove_variant("other", other, model, update, example).passed
    assert update.losses is plain
    assert paths.prove_variant("same", same, model, update, example).passed
    assert update.losses is same
    assert model.training


def test_a_compiled_kernel_that_disagrees_is_not_used_for_moments(monkeypatch):
    _, update = prepared(small.config())
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    assert paths.prove_moments(update.lamb).passed
    kept = update.lamb.moments

    def wrong(*tensors, **_):
        tensors[3].zero_()

    monkeypatch.setattr(torch, "compile", lambda *_, **__: wrong)
    assert not paths.prove_moments(update.lamb).passed
    assert update.lamb.moments is kept


@pytest.mark.usefixtures("_eager_graphs")
def test_a_replayed_half_step_is_the_step():
    config = small.config(hyperparameters={"gradient_accumulation_steps": 2})
    _, plain = prepared(config)
    _, update = prepared(config)
    first, second = (
        synthetic.batch(config, rows=2, seed=seed, device=small.CPU) for seed in (1, 2)
    )
    kept = update.state()
    assert graphs.capture_gradients(update, example_of(config, rows=2)).passed
    assert graphs.capture_apply(update).passed
    assert isinstance(update.add_gradients, graphs.Replay)
    update.restore(kept)
    for _ in range(2):
        update([first, second])
        plain([first, second])
    assert torch.equal(update.flat.weights, plain.flat.weights)
    assert torch.equal(update.loss_sums, plain.loss_sums)


def test_without_a_gpu_nothing_is_captured_and_the_verdict_says_why(monkeypatch):
    def impossible(_):
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(graphs, "record", impossible)
    config = small.config()
    model, update = prepared(config)
    before = (update.add_gradients, update.apply)
    judge = judge_of(model)
    verdicts = [
        graphs.capture_gradients(update, example_of(config)),
        graphs.capture_apply(update),
        graphs.capture_judge(judge, [example_of(config)])[1],
    ]
    assert graphs.capture_judge(judge, [example_of(config)])[0] is judge
    assert (update.add_gradients, update.apply) == before
    for verdict in verdicts:
        assert not verdict.passed
        assert verdict.note.endswith("operation not permitted when stream is capturing")


def test_a_graph_that_reads_the_batch_it_was_captured_with_is_not_used(monkeypatch):
    monkeypatch.setattr(graphs, "record", lambda run: (lambda: None, run()))
    config = small.config()
    model, update = prepared(config)
    judge = judge_of(model)
    examples = [example_of(config, rows=3), example_of(config, rows=3)]
    examples[1] = paths.half_right(model, examples[1])
    kept, verdict = graphs.capture_judge(judge, examples)
    assert kept is judge
    assert "disagrees" in verdict.note
    assert not graphs.capture_apply(update).passed


@pytest.mark.parametrize("wrong_by", [0.0, 0.05])
def test_low_precision_may_err_as_much_as_the_plain_way_does(wrong_by):
    config = small.config(training={"precision": Precision.BF16})
    model, update = prepared(config)

    def variant(batch):
        masked, following = losses(model(batch), batch)
        return masked * (1 + wrong_by), following

    verdict = paths.prove_variant("variant", variant, model, update, example_of(config))
    assert 0.001 < verdict.allowed < 0.05
    assert verdict.passed is (wrong_by == 0)
    assert next(model.parameters()).grad.data_ptr() == update.flat.gradients.data_ptr()


def test_half_of_the_examples_answers_are_right():
    model, _ = prepared(small.config())
    right, tokens, _, _ = judge_of(model)(paths.half_right(model, example_of(small.config())))
    assert 0.4 < right / tokens <= 0.6


@pytest.mark.parametrize(
    ("times", "used"), [([2.0, 1.0], True), ([1.0, 2.0], False)], ids=["faster", "slower"]
)
def test_apex_computes_lamb_where_it_agrees_and_is_faster(monkeypatch, times, used):
    apex.install(monkeypatch)
    _, update = prepared(small.config())
    monkeypatch.setattr(paths, "milliseconds", lambda *_, **__: times.pop(0))
    verdict = paths.prove_apex(update)
    assert verdict.error < 1e-5
    assert verdict.passed is used
    assert isinstance(update.lamb.compute, ApexLamb) is used
    assert "1.000 ms" in verdict.note


def test_apex_is_not_used_where_it_is_absent_or_wrong(monkeypatch):
    apex.remove(monkeypatch)
    _, update = prepared(small.config())
    assert "cannot run here: " in paths.prove_apex(update).note
    assert update.lamb.compute == update.lamb.compute_plain

    def careless(*arguments):
        apex.lamb(*arguments[:9], 0.0, *arguments[10:])  # without weight decay

    apex.install(monkeypatch, careless)
    assert "disagrees" in paths.prove_apex(update).note
    assert update.lamb.compute == update.lamb.compute_plain


@pytest.mark.usefixtures("_eager_graphs")
def test_every_way_is_tried_and_leaves_weights_moments_and_counters_alone(monkeypatch):
    """All but the kernels: what is compiled is traced whole, without a break, run as traced."""
    apex.install(monkeypatch)
    traced = functools.partial(torch.compile, backend="aot_eager", fullgraph=True)
    monkeypatch.setattr(torch, "compile", traced)
    config = small.config(training={"eval_rows": 4})
    stream = io.StringIO()
    log = RunLog(rank=0, stream=stream)
    model, update = prepared(config)
    before = update.state()
    judge = judge_of(model)
    paths.speed_up(model, update, config, small.ALONE, log)
    fast = paths.speed_up_evaluation(model, judge, config, small.ALONE, log)
    assert all(map(torch.equal, update.state(), before))
    proofs = values(records(stream.getvalue()), "fast_path")
    assert [proof["path"] for proof in proofs] == [
        "compile",
        "lamb:compile",
        "lamb:apex",
        "cuda-graph:gradients",
        "cuda-graph:update",
        "compile:evaluation",
        "cuda-graph:evaluation",
    ]
    assert all(proof["error"] <= proof["allowed"] for proof in proofs), proofs
    other = synthetic.batch(config, rows=4, seed=9, device=small.CPU)
    assert torch.equal(fast(other), judge(other))
    assert model.training


def test_fp8_is_refused_by_name_where_it_disagrees(monkeypatch):
    config = small.config(training={"precision": Precision.FP8})
    model, update = prepared(small.config())
    monkeypatch.setattr(
        paths, "in_fp8", lambda model: lambda batch: (model(batch)[0].sum() * 0, torch.zeros(()))
    )
    with pytest.raises(RunError, match=r"fp8, but it disagrees with the plain path.*use bf16"):
        paths.speed_up(model, update, config, small.ALONE, RunLog(rank=1))


@pytest.mark.parametrize(("failing", "used"), [(-1, True), (1, False)])
def test_ranks_use_what_all_can_and_never_wait_for_one_another(failing, used):
    ranks = Path(__file__).with_name("ranks.py")
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    environment = {**runs.environment(), "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        (*torchrun, ranks, str(failing)),
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert first == second
    assert set(first["used"].values()) == {used}
