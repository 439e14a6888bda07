import copy
import functools
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from image_classification.pytorch import build, config, paths
from image_classification.pytorch.model import Head, Stem
from pytorch_common.distributed import Process
from pytorch_common.failure import RunError
from pytorch_common.mlperf import RunLog
from tests.patches.resnet.runs import PROGRAM, values

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
    monkeypatch.setitem(paths.WAYS, "compile", lambda part: part)
    step = make(document, stream, way="compile")
    (check,) = logged(stream, "step_path_check")
    assert check["passed"], check
    assert check["error"] <= check["allowed"]
    assert logged(stream, "step_path_time")[0]["step_ms"] > 0
    assert logged(stream, "step_path")[0]["path"] == "compile"
    untouched = make(document, stream)
    pairs = zip(step.learner.state, untouched.learner.state, strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.fixture
def ways(monkeypatch):
    """Let a test change the ways there are."""
    monkeypatch.setattr(paths, "WAYS", dict(paths.WAYS))


def wrong(part):
    """Return a part that is right but for its last images."""
    return lambda x: torch.cat([part(x)[:-2], torch.zeros_like(part(x)[-2:])])


def twice(part):
    """Return a part that counts every batch twice in its statistics."""

    def run(x):
        with torch.no_grad():
            part(x)
        return part(x)

    return run


def absent(_):
    raise KeyError("no such kernel")


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("way", "note"),
    [
        (lambda part: wrong(part) if isinstance(part, Head) else part, "disagrees"),
        (lambda part: wrong(part) if isinstance(part, Stem) else part, "disagrees"),
        (lambda part: lambda x: part(x) * 2, "disagrees"),
        (twice, "disagrees"),
        (lambda part: lambda x: part(x).detach() + 0 * part(x), "disagrees"),
        (lambda _: torch.ops.aten.no_such_kernel, "cannot run here: AttributeError"),
        (absent, "cannot run here: KeyError"),
    ],
    ids=["head", "stem", "scaled", "statistics", "no gradient", "absent", "absent by name"],
)
def test_a_path_that_fails_or_disagrees_is_refused(document, stream, way, note, precision):
    paths.WAYS["compile"] = way
    with pytest.raises(RunError, match=r"training\.step is compile, but compile (dis|cannot)"):
        make(document, stream, way="compile", precision=precision)
    (check,) = logged(stream, "step_path_check")
    assert not check["passed"]
    assert note in check["note"]


def test_parts_are_compiled_for_the_sizes_they_see(document, stream, monkeypatch):
    """Stages share their code: their differing sizes must not make torch compile for any size."""
    sizes = []

    def backend(module, inputs):
        sizes.extend(value for value in inputs if isinstance(value, torch.SymInt))
        return module

    document["model"]["stages"] = [1, 1, 1, 1]
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    make(document, stream, way="compile")
    assert logged(stream, "step_path")[0]["path"] == "compile"
    assert not sizes


@pytest.fixture
def graphs(monkeypatch):
    """Give the CPU graphs; what is returned sets how they are captured."""
    monkeypatch.setattr(paths.graphs, "available", lambda _: True)
    monkeypatch.setattr(paths, "WAYS", dict.fromkeys(paths.WAYS, lambda part: part))
    monkeypatch.setattr(paths.fastpath, "milliseconds", lambda run, **_: run() or 1.0)
    return functools.partial(monkeypatch.setattr, paths.graphs, "capture")


def checks(stream):
    return {check["path"]: check for check in logged(stream, "step_path_check")}


def test_a_graph_that_updates_as_the_step_does_is_used(document, stream, graphs):
    replayed = []
    graphs(lambda parts: [lambda part=part: (replayed.append(1), part()) for part in parts])
    step = make(document, stream, accumulation=2)
    assert checks(stream).keys() == {"eager as CUDA graph", "compile", "compile as CUDA graph"}
    assert all(check["passed"] for check in checks(stream).values())
    replayed.clear()
    step(noise, 1.0)
    assert len(replayed) == 2


def forbidden(_):
    raise RuntimeError("operation not permitted when stream is capturing")


def stale(parts):
    """Return graphs that replay nothing."""
    return [lambda: None for _ in parts]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("capture", [forbidden, stale])
def test_where_no_graph_can_be_had_the_step_runs_without(
    document, stream, graphs, capture, precision
):
    graphs(capture)
    step = make(document, stream, precision=precision)
    note = {forbidden: "cannot run here: RuntimeError: operation", stale: "disagrees"}[capture]
    assert note in checks(stream)["eager as CUDA graph"]["note"]
    losses = []
    for _ in range(4):
        step(noise, 2.0)
        losses.append(step.loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ on CPUs")
@pytest.mark.filterwarnings("ignore")  # torch's compiler warns about torch's own code
def test_the_compiled_path_agrees_on_this_machine(document, stream):
    make(document, stream, way="compile", batch=16)
    (check,) = logged(stream, "step_path_check")
    assert check["passed"], check


def too_large(part):
    def run(x):
        if not isinstance(part, Head) or not x.requires_grad:
            return part(x)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    return run


def test_where_the_plain_path_does_not_fit_a_leaner_one_is_used(document, stream, graphs):
    graphs(list)
    paths.WAYS["eager"] = too_large
    make(document, stream)
    assert "cannot run here: OutOfMemoryError" in checks(stream)["eager"]["note"]
    assert logged(stream, "step_path")[0]["path"] == "compile"


def test_where_nothing_fits_the_run_says_what_to_change(document, stream, graphs):
    graphs(list)
    paths.WAYS["eager"] = paths.WAYS["compile"] = too_large
    with pytest.raises(RunError, match=r"eager cannot run here: OutOf.*; compile cannot.*raise"):
        make(document, stream)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "refused"),
    [
        ("none", set()),
        ("compile", {"compile"}),
        ("capture", {"eager as CUDA graph", "compile as CUDA graph"}),
    ],
)
def test_what_one_rank_cannot_do_none_does_and_nobody_waits(fault, refused):
    ranks = Path(__file__).with_name("ranks.py")
    status, log, stderr = PROGRAM.run_ranks(ranks, fault)
    assert status == 0, stderr
    checks = values(log, "step_path_check")
    assert {check["path"] for check in checks if not check["passed"]} == refused
    reason = f"cannot run here: RuntimeError: this rank cannot {fault}"
    assert {line for line in stderr.splitlines() if line.startswith("rank 1:")} == {
        f"rank 1: {path}: {reason}" for path in refused
    }
    assert len(values(log, "loss")) == 2
    assert len(set(values(log, "loss"))) == 1
