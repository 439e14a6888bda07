import contextlib
import io
import sys
import types

import pytest
import torch
from bert import build, fp8, synthetic
from bert.config import Precision
from bert.flat import Flat
from bert.model import losses
from bert.update import Update

from pytorch_common.failure import RunError
from pytorch_common.mlperf import RunLog
from tests.patches.bert import small
from tests.patches.bert.runs import records, values


def prepared(config):
    stream = io.StringIO()
    made = build.prepare(config, small.ALONE, 1, None, RunLog(rank=0, stream=stream))
    return made.model, made.update, records(stream.getvalue())


def example_of(config):
    return synthetic.batch(config, rows=4, seed=0, device=small.CPU)


def test_the_chosen_attention_route_is_on_record_with_its_proof():
    _, _, log = prepared(small.config())
    (proof,) = values(log, "fast_path")
    assert proof["path"] == "attention:sdpa"
    assert proof["passed"]


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
def test_low_precision_may_be_as_wrong_as_the_plain_route_is(precision):
    _, update, log = prepared(small.config(training={"precision": precision}))
    (proof,) = values(log, "fast_path")
    assert proof["error"] <= proof["allowed"]
    update([example_of(small.config())])
    assert torch.isfinite(update.flat.weights).all()


def test_a_route_that_fails_its_proof_is_not_used(monkeypatch):
    wrong = dict(build.attention.ROUTES)
    wrong["sdpa"] = lambda qkv, *_: qkv[:, 2]
    monkeypatch.setattr(build.attention, "ROUTES", wrong)
    with pytest.raises(RunError, match="sdpa did not pass its check on this machine"):
        prepared(small.config())


def test_warm_up_leaves_no_trace_in_weights_moments_and_counters():
    config = small.config()
    _, update, _ = prepared(config)
    example = example_of(config)
    kept = update.state()
    before = [tensor.clone() for tensor in kept]
    update([example])
    assert not torch.equal(update.flat.weights, before[0])
    update.restore(kept)
    assert all(map(torch.equal, update.state(), before))


def test_two_micro_batches_give_the_mean_of_their_clipped_gradients():
    config = small.config(hyperparameters={"gradient_accumulation_steps": 2})
    model = small.network(config)
    update = Update(model, config, small.ALONE, Flat(model))
    parts = [synthetic.batch(config, rows=3, seed=seed, device=small.CPU) for seed in (0, 1)]
    for part in parts:
        update.add_gradients(part)
    wanted = torch.zeros_like(update.total)
    for part in parts:
        update.flat.gradients.zero_()
        sum(losses(model(part), part)).backward()
        size = update.flat.gradients.norm()
        assert size > 1  # or clipping shows nothing
        wanted += update.flat.gradients / size / 2
    torch.testing.assert_close(update.total, wanted, rtol=1e-5, atol=1e-7)


def test_fp8_without_transformer_engine_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformer_engine", None)
    with pytest.raises(RunError, match=r"TransformerEngine cannot be used here.*use bf16"):
        prepared(small.config(training={"precision": Precision.FP8}))


def test_fp8_takes_the_engines_layers_and_computes_inside_its_recipe(monkeypatch):
    """A stand-in for TransformerEngine: which layers are its own, and what surrounds them."""
    inside = []

    class Linear(torch.nn.Linear):
        def __init__(self, wide, out, *, device, params_dtype):
            super().__init__(wide, out, device=device, dtype=params_dtype)

    @contextlib.contextmanager
    def fp8_autocast(*, enabled, fp8_recipe):
        inside.append((enabled, fp8_recipe))
        yield

    engine = types.SimpleNamespace(Linear=Linear, fp8_autocast=fp8_autocast)
    recipe = types.SimpleNamespace(
        DelayedScaling=lambda **values: values, Format=types.SimpleNamespace(HYBRID="hybrid")
    )
    package = types.ModuleType("transformer_engine")
    package.pytorch, package.common = engine, types.SimpleNamespace(recipe=recipe)
    monkeypatch.setitem(sys.modules, "transformer_engine", package)
    monkeypatch.setitem(sys.modules, "transformer_engine.pytorch", engine)
    monkeypatch.setitem(sys.modules, "transformer_engine.common", package.common)
    config = small.config(training={"precision": Precision.FP8})
    model, _, _ = prepared(config)
    theirs = [name for name, part in model.named_modules() if isinstance(part, Linear)]
    assert len(theirs) == 4 * len(model.layers)
    assert all(name.startswith("layers.") for name in theirs)
    fp8.InFp8(model)(example_of(config))
    ((enabled, chosen),) = inside
    assert enabled
    assert chosen == {
        "fp8_format": "hybrid",
        "amax_history_len": 1,
        "amax_compute_algo": "most_recent",
        "reduce_amax": False,
    }


def test_an_fp8_product_takes_only_token_counts_it_can():
    assert fp8.fits(48, 80, 3)
    assert not fp8.fits(7, 80, 3)
