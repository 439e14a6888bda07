import itertools

import pytest
import torch
from bert import attention, synthetic
from bert.attention import NEEDS_MASK, ROUTES
from bert.data import map_batch
from bert.model import Bert

from pytorch_common.failure import RunError
from tests.patches.bert import small

ON_CPU = sorted(NEEDS_MASK - {"plain"})
GPU = pytest.mark.gpu


def segments_of(rows=4, seed=0, device="cpu"):
    return synthetic.batch(
        small.config(), rows=rows, seed=seed, device=torch.device(device)
    ).segments


def run(route, qkv, segments, dropout=0.0):
    mine = qkv.clone().requires_grad_()
    context = ROUTES[route](mine, segments, segments.mask(qkv.dtype), dropout)
    context.sin().sum().backward()
    return context.detach(), mine.grad


@pytest.mark.parametrize("route", ON_CPU)
def test_every_route_agrees_with_the_plain_one_gradients_included(route):
    segments = segments_of()
    qkv = torch.randn(4 * 32, 3, 3, 8)
    for ours, plain in zip(run(route, qkv, segments), run("plain", qkv, segments), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-6)


@GPU
@pytest.mark.parametrize("route", ["torch-varlen", "flash-attn"])
def test_every_gpu_route_agrees_with_the_plain_one_gradients_included(route):
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    if route == "flash-attn":
        pytest.importorskip("flash_attn")
    segments = segments_of(device="cuda")
    qkv = torch.randn(4 * 32, 3, 3, 64, device="cuda", dtype=torch.bfloat16)
    for ours, plain in zip(run(route, qkv, segments), run("plain", qkv, segments), strict=True):
        torch.testing.assert_close(ours, plain, rtol=2e-2, atol=2e-2)


def test_pytorchs_private_operator_takes_what_it_is_given_and_has_a_gradient():
    """On no device: its arguments and shapes, which another release could change."""
    segments = segments_of()
    there = attention.Segments(
        numbers=segments.numbers.to("meta"), bounds=segments.bounds.to("meta")
    )
    qkv = torch.empty(4 * 32, 3, 2, 64, device="meta", dtype=torch.bfloat16, requires_grad=True)
    context = attention.torch_varlen(qkv, there, None, 0.1)
    assert context.shape == (4 * 32, 2, 64)
    context.float().sum().backward()
    assert qkv.grad.shape == qkv.shape


def test_the_compiler_traces_the_network_around_that_operator_without_a_break():
    sizes = small.config(model={"hidden_size": 128, "num_attention_heads": 2}).model
    model = Bert(sizes, attention.torch_varlen, needs_mask=False).to("meta", torch.bfloat16)
    batch = synthetic.batch(small.config(), rows=4, seed=0, device=small.CPU)
    traced = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=False)
    masked, following = traced(map_batch(batch, lambda tensor: tensor.to("meta")))
    assert masked.shape == (len(batch.masked_at), 128)  # the vocabulary, rounded up
    assert following.shape == (len(batch.first_at), 2)


def test_the_plain_route_is_a_softmax_inside_each_segment():
    segments = segments_of(rows=2)
    qkv = torch.randn(2 * 32, 3, 3, 8)
    context, _ = run("plain", qkv, segments)
    bounds = segments.bounds.tolist()
    for start, stop in itertools.pairwise(bounds):
        q, k, v = qkv[start:stop].unbind(1)
        weights = torch.einsum("qhd,khd->hqk", q, k).div(8**0.5).softmax(-1)
        wanted = torch.einsum("hqk,khd->qhd", weights, v)
        torch.testing.assert_close(context[start:stop], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("route", ["plain", "sdpa"])
def test_dropout_keeps_the_mean_and_drops_a_tenth_of_the_probabilities(route):
    torch.manual_seed(0)
    rows, length, rate = 64, 32, 0.1
    numbers = torch.zeros(rows, length, dtype=torch.int64)
    bounds = torch.arange(rows + 1, dtype=torch.int32) * length
    segments = attention.Segments(numbers=numbers, bounds=bounds)
    qkv = torch.zeros(rows * length, 3, 1, length)  # equal scores: probabilities are 1 / length
    qkv[:, 2] = torch.eye(length).repeat(rows, 1)[:, None]  # so the context shows them one by one
    context = ROUTES[route](qkv, segments, segments.mask(qkv.dtype), rate)
    kept = context != 0
    assert kept.float().mean().item() == pytest.approx(1 - rate, abs=0.005)
    torch.testing.assert_close(context[kept], torch.full_like(context[kept], 1 / length / 0.9))


def test_a_route_that_needs_a_gpu_or_does_not_exist_is_refused():
    assert attention.candidates("auto", on_gpu=False) == ["sdpa"]
    with pytest.raises(RunError, match="needs a GPU"):
        attention.candidates("flash-attn", on_gpu=False)
    with pytest.raises(RunError, match="use one of auto"):
        attention.candidates("fast", on_gpu=True)
