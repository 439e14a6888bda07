import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from image_classification.pytorch import model
from image_classification.pytorch.config import REAL_MODEL, Model

TINY = Model(stages=(1, 2), width=4, classes=5, image_size=32, resize_size=36)


@pytest.fixture(scope="module")
def resnet50():
    network = model.ResNet(REAL_MODEL)
    model.initialise(network, torch.Generator().manual_seed(1))
    return network


@pytest.fixture
def tiny():
    network = model.ResNet(TINY)
    model.initialise(network, torch.Generator().manual_seed(1))
    return network


def test_the_real_network_has_the_references_parameters(resnet50):
    parameters = dict(resnet50.named_parameters())
    assert len(parameters) == 161
    assert sum(parameter.numel() for parameter in parameters.values()) == 25_557_032
    statistics = dict(resnet50.named_buffers())
    assert len(statistics) == 106
    assert sum(buffer.numel() for buffer in statistics.values()) == 53_120


def test_lars_adapts_convolutions_and_the_dense_kernel_only(resnet50):
    adapted = {name: p for name, p in resnet50.named_parameters() if model.adapted(name)}
    assert len(adapted) == 54
    assert sum(parameter.numel() for parameter in adapted.values()) == 25_502_912


def test_the_l2_loss_of_sgd_also_covers_the_dense_bias(resnet50):
    decayed = [name for name, _ in resnet50.named_parameters() if model.decayed_by_sgd(name)]
    assert len(decayed) == 55
    assert "head.dense.bias" in decayed


def test_batch_norms_begin_at_gamma_one_and_beta_zero_everywhere(resnet50):
    norms = [m for m in resnet50.modules() if isinstance(m, model.BatchNorm)]
    assert len(norms) == 53
    assert all(bool((norm.weight == 1).all() and (norm.bias == 0).all()) for norm in norms)


def test_convolutions_begin_with_the_corrected_truncated_he_normal(resnet50):
    for stage in (resnet50.stem.conv, resnet50.stages[3][0].conv_b):
        std = math.sqrt(2 / stage.weight[0].numel())
        drawn = stage.weight.detach().flatten()
        assert drawn.std().item() == pytest.approx(std, rel=0.01 + 2 / len(drawn) ** 0.5)
        assert drawn.abs().max().item() <= 2 * std / 0.8796 * 1.0001


def test_the_dense_kernel_begins_with_a_plain_normal_and_no_bias(resnet50):
    dense = resnet50.head.dense
    assert dense.weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert dense.weight.abs().max().item() > 0.04  # not cut at two sigma
    assert not dense.bias.any()


@pytest.mark.parametrize(
    ("size", "stride", "padding"),
    [(56, 2, (0, 1)), (7, 2, (1, 1)), (56, 1, (1, 1)), (112, 2, (0, 1))],
)
def test_same_padding_is_tensorflows(size, stride, padding):
    assert model.same_padding(size, 3, stride) == padding


def test_a_strided_convolution_pads_even_sizes_at_the_end_only():
    convolution = model.Convolution(2, 3, 3, 2, same=True)
    torch.nn.init.normal_(convolution.weight)
    x = torch.randn(1, 2, 8, 8)
    expected = functional.conv2d(functional.pad(x, (0, 1, 0, 1)), convolution.weight, stride=2)
    assert torch.equal(convolution(x), expected)
    symmetric = functional.conv2d(x, convolution.weight, stride=2, padding=1)
    assert not torch.allclose(convolution(x), symmetric)


def test_the_max_pool_pads_even_sizes_at_the_end_only():
    stem = model.Stem(4, same=True)
    torch.nn.init.normal_(stem.conv.weight)  # the network draws them, not its parts
    x = torch.randn(2, 3, 32, 32)
    y = functional.relu(stem.bn(stem.conv(x)))
    padded = functional.pad(y, (0, 1, 0, 1), value=-math.inf)
    assert torch.equal(stem(x), functional.max_pool2d(padded, 3, 2))


@pytest.mark.parametrize("padding", ["same", "symmetric"])
def test_both_paddings_give_the_same_shapes(padding):
    network = model.ResNet(TINY, padding=padding)
    x = torch.randn(2, 3, 32, 32)
    assert network.stem(x).shape == (2, 4, 8, 8)
    assert network(x).shape == (2, 5)


def test_a_seed_decides_all_weights(tiny):
    again, other = model.ResNet(TINY), model.ResNet(TINY)
    model.initialise(again, torch.Generator().manual_seed(1))
    model.initialise(other, torch.Generator().manual_seed(2))
    assert all(
        torch.equal(a, b) for a, b in zip(tiny.parameters(), again.parameters(), strict=True)
    )
    assert not torch.equal(tiny.stem.conv.weight, other.stem.conv.weight)


def test_running_statistics_move_by_a_tenth_and_the_variance_is_unbiased():
    norm = model.BatchNorm(3)
    x = torch.randn(4, 3, 5, 5) * 3 + 1
    norm(x)
    values = x.numpy().astype(np.float64)
    mean, variance = values.mean((0, 2, 3)), values.var((0, 2, 3), ddof=1)
    assert norm.running_mean.numpy() == pytest.approx(0.1 * mean, rel=1e-5)
    assert norm.running_var.numpy() == pytest.approx(0.9 + 0.1 * variance, rel=1e-5)


def test_evaluation_changes_no_statistics(tiny):
    before = [buffer.clone() for buffer in tiny.buffers()]
    tiny.eval()
    tiny(torch.randn(2, 3, 32, 32))
    assert all(torch.equal(a, b) for a, b in zip(before, tiny.buffers(), strict=True))
