import copy
import io
import json
import shutil

import numpy as np
import pytest
import torch

from image_classification.pytorch import build, config, paths
from pytorch_common.distributed import Process
from pytorch_common.failure import RunError
from pytorch_common.mlperf import RunLog

ALONE = Process(rank=0, local_rank=0, world_size=1, device=torch.device("cpu"))


@pytest.fixture
def stream():
    return io.StringIO()


def make(document, stream, *, way="auto", precision="fp32", batch=8, accumulation=1):
    document = copy.deepcopy(document)
    document["training"] |= {"step": way, "precision": precision}
    document["hyperparameters"] |= {
        "global_batch_size": batch,
        "gradient_accumulation_steps": accumulation,
        "model_bn_span": batch // accumulation,
    }
    read = config.parse(document)
    network = build.model(read, ALONE.device, seed=1)
    return build.step(read, network, ALONE, 1, RunLog(rank=0, stream=stream))


def logged(stream, key):
    lines = [json.loads(line.removeprefix(":::MLLOG ")) for line in stream.getvalue().splitlines()]
    return [line["value"] for line in lines if line["key"] == key]


def noise(images, labels):
    images.copy_(torch.from_numpy(np.random.default_rng(5).normal(0, 60, images.shape)))
    labels.copy_(torch.arange(len(labels)) % 10)


def test_the_loss_of_repeated_steps_falls(document, stream):
    step = make(document, stream)
    losses = []
    for _ in range(8):
        step(noise, 2.0)
        losses.append(step.loss.item())
    assert losses[-1] < losses[0]


def test_accumulated_gradients_are_averaged_not_summed(document, stream):
    once = make(document, stream, batch=8)
    twice = make(document, stream, batch=16, accumulation=2)
    assert once.images.shape == twice.images.shape
    for step in (once, twice):
        noise(step.images, step.labels)
    for alone, mean in zip(once.accumulate(), twice.accumulate(), strict=True):
        assert torch.allclose(alone, mean, rtol=1e-5, atol=1e-7)
    assert once.loss.item() == pytest.approx(twice.loss.item(), rel=1e-6)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_keeps_fp32_masters_and_batch_norms(document, stream, precision):
    step = make(document, stream, precision=precision)
    learner = step.learner
    weight = learner.model.stem.conv.weight
    assert weight.dtype is build.PRECISIONS[precision]
    assert {tensor.dtype for tensor in learner.masters.tensors} == {torch.float32}
    assert learner.model.stem.bn.weight.dtype is torch.float32
    assert learner.model.stem.bn.running_var.dtype is torch.float32
    step(noise, 1.0)
    assert torch.equal(weight, learner.masters.tensors[0].to(weight.dtype))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_gradients_are_close_to_full_ones(document, stream, precision):
    full = make(document, stream, batch=32)
    low = make(document, stream, precision=precision, batch=32)
    for step in (full, low):
        noise(step.images, step.labels)
    assert paths.fastpath.relative_error(low.accumulate(), full.accumulate()) < 0.2


def test_the_cpu_takes_the_plain_path_and_says_so(document, stream):
    make(document, stream)
    assert logged(stream, "step_path")[0]["path"] == "eager"


def test_a_path_that_agrees_is_used_and_leaves_no_trace(document, stream, monkeypatch):
    monkeypatch.setitem(paths.FORWARDS, "compile", lambda model: model)
    step = make(document, stream, way="compile")
    (check,) = logged(stream, "step_path_check")
    assert check["passed"]
    assert check["error"] <= check["allowed"]
    assert check["step_ms"] > 0
    untouched = make(document, stream)
    pairs = zip(step.learner.state, untouched.learner.state, strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("forward", "note"),
    [
        (lambda model: lambda x: model(x) * 1.1, "disagrees"),
        (lambda _: torch.ops.aten.no_such_kernel, "cannot run here"),
    ],
)
def test_a_path_that_fails_or_disagrees_is_refused(document, stream, monkeypatch, forward, note):
    def broken(model):
        def run(x):
            return forward(model)(x)

        return run

    monkeypatch.setitem(paths.FORWARDS, "compile", broken)
    with pytest.raises(RunError, match=r"training\.step is compile, but no such path agrees"):
        make(document, stream, way="compile")
    (check,) = logged(stream, "step_path_check")
    assert not check["passed"]
    assert note in check["note"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ on CPUs")
@pytest.mark.filterwarnings("ignore")  # torch's compiler warns about torch's own code
def test_the_compiled_path_agrees_on_this_machine(document, stream):
    make(document, stream, way="compile", batch=16)
    (check,) = logged(stream, "step_path_check")
    assert check["passed"]
