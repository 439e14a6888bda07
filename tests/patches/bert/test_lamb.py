import numpy as np
import pytest
import torch
from bert.apex_lamb import ApexLamb
from bert.checkpoint import view
from bert.flat import Flat
from bert.lamb import Lamb
from bert.schedule import learning_rate
from bert.variables import variables

from tests.patches.bert import apex, small
from tests.patches.bert.small import network


def float64_lamb(weights, gradients, values, adapted, start):
    """lamb_optimizer_v1.py:129-186 in float64 numpy for one variable."""
    m = v = np.zeros_like(weights)
    b1, b2 = values.opt_lamb_beta_1, values.opt_lamb_beta_2
    for t, g in enumerate(gradients, start=1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g * g
        u = (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + values.opt_lamb_epsilon)
        ratio = 1.0
        if adapted:
            u = u + values.opt_lamb_weight_decay_rate * weights
            w_norm, u_norm = np.linalg.norm(weights), np.linalg.norm(u)
            ratio = w_norm / u_norm if w_norm > 0 and u_norm > 0 else 1.0
        weights = weights - learning_rate(start + t - 1, values) * ratio * u
    return weights


def lamb_of(flat, values, kernels, monkeypatch):
    lamb = Lamb(flat, values)
    if kernels == "apex":
        apex.install(monkeypatch)
        lamb.compute = ApexLamb(lamb, flat)
    return lamb


@pytest.mark.parametrize("kernels", ["torch", "apex"])
@pytest.mark.parametrize("warmup", [0, 6])
def test_ten_steps_agree_with_float64_for_every_variable(warmup, kernels, monkeypatch):
    config = small.config(
        hyperparameters={
            "num_warmup_steps": warmup,
            "opt_learning_rate_warmup_steps": warmup,
            "start_warmup_step": -2,
        }
    )
    values = config.hyperparameters
    model = network(config)
    with torch.no_grad():  # a variable of zeros keeps ratio 1
        model.token_type_embeddings.zero_()
    flat = Flat(model)
    lamb = lamb_of(flat, values, kernels, monkeypatch)
    start = {
        v.name: view(model, v).detach().double().numpy().copy() for v in variables(model.sizes)
    }
    generator = torch.Generator().manual_seed(1)
    seen = {name: [] for name in start}
    for _ in range(10):
        gradients = torch.zeros_like(flat.gradients)
        for variable, (low, high) in zip(flat.variables, flat.spans, strict=True):
            part = torch.randn(high - low, generator=generator) * 0.1
            gradients[low:high] = part
            shape = start[variable.name].shape
            seen[variable.name].append(part.double().numpy().reshape(shape))
        lamb.step(gradients)
    for variable in flat.variables:
        name = variable.name
        wanted = float64_lamb(start[name], seen[name], values, variable.adapted, 0)
        ours = view(model, variable).detach().double().numpy()
        error = np.abs(ours - wanted).max() / max(np.abs(wanted).max(), 1e-3)
        assert error < 1e-6, (name, error)


def test_biases_and_layer_norms_are_not_adapted_and_everything_else_is():
    config = small.config()
    flags = {variable.name: variable.adapted for variable in variables(config.model)}
    assert not flags["cls/predictions/output_bias"]
    assert not flags["cls/seq_relationship/output_bias"]
    assert not flags["bert/encoder/layer_0/output/LayerNorm/gamma"]
    assert flags["bert/encoder/layer_0/attention/self/query/kernel"]
    assert flags["cls/seq_relationship/output_weights"]
    assert sum(flags.values()) == 2 * 6 + 3 + 3


@pytest.mark.parametrize("kernels", ["torch", "apex"])
def test_fused_query_key_and_value_have_a_ratio_each(kernels, monkeypatch):
    model = network(small.config())
    flat = Flat(model)
    sizes = {"query": 1.0, "key": 10.0, "value": 100.0}
    chosen = {
        name: variable
        for variable in flat.variables
        for name in sizes
        if variable.name == f"bert/encoder/layer_0/attention/self/{name}/kernel"
    }
    with torch.no_grad():
        for name, size in sizes.items():
            view(model, chosen[name]).fill_(size)
    values = small.config(hyperparameters={"opt_lamb_weight_decay_rate": 0.0}).hyperparameters
    lamb = lamb_of(flat, values, kernels, monkeypatch)
    lamb.step(torch.ones_like(flat.gradients))
    for name, size in sizes.items():
        change = size - view(model, chosen[name]).mean().item()
        assert change / size == pytest.approx(0.02, rel=1e-3)


def test_apex_is_not_given_a_share(monkeypatch):
    apex.install(monkeypatch)
    flat = Flat(network(small.config()), shares=2)
    with pytest.raises(ValueError, match="whole variables"):
        ApexLamb(Lamb(flat, small.config().hyperparameters, number=1, shares=2), flat)


@pytest.mark.parametrize("kernels", ["torch", "apex"])
def test_low_precision_weights_follow_fp32_masters(kernels, monkeypatch):
    config = small.config()
    model = network(config)
    exact = Lamb(Flat(network(config)), config.hyperparameters)
    flat = Flat(model, dtype=torch.bfloat16)
    lamb = lamb_of(flat, config.hyperparameters, kernels, monkeypatch)
    generator = torch.Generator().manual_seed(0)
    gradients = torch.zeros(len(flat.gradients))
    for low, high in flat.spans:
        gradients[low:high] = torch.randn(high - low, generator=generator)
    for _ in range(3):
        lamb.step(gradients)
        exact.step(gradients)
    assert model.word_embeddings.dtype == torch.bfloat16
    torch.testing.assert_close(lamb.master, exact.master)
    assert torch.equal(flat.weights, lamb.master.bfloat16())


def test_shares_hold_every_value_of_every_variable_once():
    flat = Flat(network(small.config()), shares=4)
    seen = torch.zeros(len(flat.weights))
    for number in range(4):
        for piece in flat.pieces(number, 4):
            flat.share(seen, number)[piece.start : piece.stop] += 1
    for low, high in flat.spans:
        assert (seen[low:high] == 1).all()
    assert seen.sum() == sum(variable.size for variable in flat.variables)
