import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from bert import attention, synthetic
from bert.checkpoint import view
from bert.config import Form, Sizes
from bert.data import collate
from bert.model import Bert, close_vocabulary, losses
from bert.packing import unpack
from bert.variables import parameter_count, variables

from tests.patches.bert import small
from tests.patches.bert.small import network


def gradients(model, batch):
    model.zero_grad()
    masked, following = losses(model(batch), batch)
    (masked + following).backward()
    named = {name: p.grad.clone() for name, p in model.named_parameters()}
    return torch.stack([masked, following]).detach(), named


def assert_close(ours, theirs, tolerance):
    torch.testing.assert_close(ours[0], theirs[0], rtol=tolerance, atol=0)
    for name, gradient in ours[1].items():
        scale = theirs[1][name].norm()
        assert (gradient - theirs[1][name]).norm() <= tolerance * scale + 1e-7, name


def test_bert_large_has_the_published_number_of_parameters():
    assert parameter_count(Sizes()) == 336_226_108
    with torch.device("meta"):
        model = Bert(Sizes(), attention.sdpa, needs_mask=True)
    padding = model.word_embeddings.shape[0] - 30522
    assert sum(p.numel() for p in model.parameters()) == 336_226_108 + padding * 1025


def test_the_variables_cover_every_parameter_once_but_the_vocabulary_padding():
    model = network(small.config())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for variable in variables(model.sizes):
            values = view(model, variable)
            assert values.numel() == variable.size
            values += 1
    for name, parameter in model.named_parameters():
        real = parameter[: model.sizes.vocab_size] if len(parameter) > 101 else parameter
        assert (real == 1).all(), name
    assert (model.word_embeddings[101:] == 0).all()


@pytest.mark.parametrize("form", [Form.PADDED, Form.UNPADDED])
@pytest.mark.parametrize("route", ["plain", "sdpa"])
def test_other_forms_give_the_loss_and_gradients_of_packed_rows(form, route):
    config = small.config()
    rows = synthetic.random_rows(config, count=6, seed=1)
    assert np.count_nonzero(rows["lengths"]) > len(rows)  # something is packed
    model = network(config, route)
    packed = gradients(model, collate(rows, Form.PACKED))
    assert_close(gradients(model, collate(rows, form)), packed, 1e-5)


def test_sequences_of_one_row_do_not_see_each_other():
    config = small.config()
    rows = synthetic.random_rows(config, count=8, seed=2)
    row = rows[np.count_nonzero(rows["lengths"], axis=1) >= 2][:1].copy()
    model = network(config).eval()
    before = model(collate(row))[0]
    row["tokens"][0, : int(row["lengths"][0, 0])] = 7  # the first sequence becomes another
    after = model(collate(row))[0]
    first = int(row["masked"][0, 0])
    assert not torch.allclose(before[:first], after[:first])
    count = int(row["masked"].sum())
    torch.testing.assert_close(before[first:count], after[first:count], rtol=1e-5, atol=1e-5)


def test_the_last_layer_computes_only_what_is_read_and_nothing_changes():
    config = small.config()
    batch = collate(synthetic.random_rows(config, count=5, seed=3))
    whole = gradients(network(config, subset=False), batch)
    assert_close(gradients(network(config, subset=True), batch), whole, 1e-5)


def test_the_losses_divide_as_the_reference_does():
    config = small.config()
    rows = synthetic.random_rows(config, count=4, seed=4)
    batch = collate(rows)
    model = network(config).eval()
    with torch.no_grad():
        logits = model(batch)
        masked, following = losses(logits, batch)
    there = batch.masked_weights > 0
    log_probabilities = logits[0][there].double().log_softmax(-1)
    each = -log_probabilities.gather(1, batch.masked_ids[there, None])[:, 0]
    assert masked.item() == pytest.approx((each.sum() / (len(each) + 1e-5)).item(), rel=1e-6)
    present = batch.sequence_weights > 0
    each = -logits[1][present].double().log_softmax(-1)
    each = each.gather(1, batch.next_is_random[present, None])
    assert following.item() == pytest.approx(each.mean().item(), rel=1e-6)
    assert present.sum() == np.count_nonzero(rows["lengths"])


def test_vocabulary_padding_takes_no_part():
    config = small.config()
    batch = collate(synthetic.random_rows(config, count=4, seed=5))
    model = network(config)
    _, found = gradients(model, batch)
    assert model.word_embeddings.shape[0] == 128
    assert (found["word_embeddings"][101:] == 0).all()
    assert (found["output_bias"][101:] == 0).all()
    probabilities = model(batch)[0].softmax(-1)
    assert (probabilities[:, 101:] == 0).all()


def test_unpacked_rows_make_the_same_batch_as_rows_of_one_sequence():
    config = small.config()
    rows = synthetic.random_rows(config, count=4, seed=6)
    ours, theirs = collate(rows, Form.PADDED), collate(unpack(rows))
    assert torch.equal(ours.tokens, theirs.tokens)
    assert torch.equal(ours.segments.bounds, theirs.segments.bounds)


def test_gelu_is_the_tanh_form():
    sizes = replace(small.config().model, initializer_range=1.0)
    model = network(small.config(model={"initializer_range": 1.0}))
    layer = model.layers[0]
    inputs = torch.randn(50, sizes.hidden_size)
    inner = layer.intermediate(inputs)
    curve = 0.5 * inner * (1 + torch.tanh(math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3)))
    wanted = layer.output_norm(inputs + layer.output(curve))
    context = torch.zeros_like(inputs)
    layer.attend = lambda *_: context.view(50, 3, 8)
    layer.attention_norm = torch.nn.Identity()
    with torch.no_grad():
        layer.attention_output.weight.zero_()
    torch.testing.assert_close(layer(inputs, None, None, None), wanted, rtol=1e-5, atol=1e-5)


def test_initial_weights_are_a_normal_cut_at_two_sigma():
    config = small.config(model={"initializer_range": 0.02, "hidden_size": 96})
    weights = network(config).layers[0].qkv.weight
    assert weights.abs().max() <= 0.04
    assert weights.std().item() == pytest.approx(0.02 * 0.8796, rel=0.02)  # of the cut normal
    assert (network(config).layers[0].output_norm.weight == 1).all()


def test_closing_the_vocabulary_twice_changes_nothing():
    model = network(small.config())
    before = model.output_bias.detach().clone()
    close_vocabulary(model)
    assert torch.equal(before, model.output_bias)
