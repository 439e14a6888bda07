"""Our BERT against the reference itself, by numbers that the reference computed.

goldens/bert.npz is written by make_bert_goldens.py under TensorFlow 2.15.1; both sides build the
same weights and batches from inputs.py. Weights are scaled up until tanh and erf GELU differ.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import inputs  # noqa: E402
from bert import (  # noqa: E402
    attention,
    checkpoint,
    config,
    data,
    flat,
    lamb,
    model,
    packing,
    schedule,
    variables,
)

GOLDENS = Path(__file__).parent / "goldens/bert.npz"
LENGTH = max(inputs.LENGTHS)
SIZES = config.Sizes(**{key: value for key, value in inputs.BERT.items() if key != "hidden_act"})
FORMS = [config.Form.PACKED, config.Form.PADDED, config.Form.UNPADDED]


@pytest.fixture(scope="module")
def goldens():
    with np.load(GOLDENS) as file:
        return dict(file)


def network(*, route="sdpa", last_layer_subset=True):
    """Return our network with the weights of inputs.py, by the reference's variable names."""
    net = model.Bert(
        SIZES,
        attention.ROUTES[route],
        needs_mask=route in attention.NEEDS_MASK,
        last_layer_subset=last_layer_subset,
    )
    model.initialise(net, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for variable in variables.variables(SIZES):
            value = torch.from_numpy(inputs.bert_variable(variable.name, variable.shape))
            checkpoint.view(net, variable).copy_(value.T if variable.transposed else value)
    return net


def sequences(batch):
    """Turn the reference's padded batch into records of one sequence."""
    rows = np.zeros(len(batch.input_ids), packing.row_dtype(LENGTH, 1))
    rows["tokens"] = batch.input_ids
    rows["lengths"] = batch.input_mask.sum(1, keepdims=True)
    rows["first_segments"] = rows["lengths"] - batch.segment_ids.sum(1, keepdims=True)
    rows["next_is_random"] = batch.next_sentence_labels
    rows["masked"] = batch.masked_lm_weights.sum(1, keepdims=True)
    slots = batch.masked_lm_ids.shape[1]
    rows["masked_positions"][:, :slots] = batch.masked_lm_positions
    rows["masked_ids"][:, :slots] = batch.masked_lm_ids
    return rows


def batch_of(form):
    rows = sequences(inputs.bert_batch())
    return data.collate(packing.pack(rows) if form is config.Form.PACKED else rows, form)


def close(ours, expected, *, relative):
    """Assert that arrays agree relative to the largest value of what is expected."""
    ours = np.asarray(ours)
    assert ours.shape == expected.shape
    assert np.abs(ours - expected).max() <= relative * np.abs(expected).max()


@pytest.mark.parametrize("form", FORMS)
def test_both_losses_are_the_references_in_every_form(form, goldens):
    batch = batch_of(form)
    masked, following = model.losses(network()(batch), batch)

    assert masked.item() == pytest.approx(float(goldens["loss/mlm"]), rel=1e-5)
    assert following.item() == pytest.approx(float(goldens["loss/nsp"]), rel=1e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("subset", [True, False])
def test_every_gradient_is_the_references_in_every_form(form, subset, goldens):
    net, batch = network(last_layer_subset=subset), batch_of(form)
    sum(model.losses(net(batch), batch)).backward()

    gradients = {name: value.grad for name, value in net.named_parameters()}
    names = [variable.name for variable in variables.variables(SIZES)]
    assert sorted(names) == sorted(key[9:] for key in goldens if key.startswith("gradient/"))
    for variable in variables.variables(SIZES):
        if variable.name.endswith("key/bias"):
            continue  # softmax does not see it: the true gradient is 0 and both sides round
        gradient = gradients[variable.parameter].narrow(0, variable.start, variable.rows)
        close(
            gradient.T if variable.transposed else gradient,
            goldens[f"gradient/{variable.name}"],
            relative=1e-5,
        )


def test_the_comparison_can_tell_the_gelus_apart(goldens, monkeypatch):
    erf = torch.nn.functional.gelu
    monkeypatch.setattr(torch.nn.functional, "gelu", lambda x, **_: erf(x))
    batch = batch_of(config.Form.PADDED)
    masked, _ = model.losses(network()(batch), batch)

    assert masked.item() != pytest.approx(float(goldens["loss/mlm"]), rel=1e-5)


def test_masked_accuracy_is_the_references(goldens):
    batch = batch_of(config.Form.PADDED)
    logits, _ = network()(batch)
    right = (logits.argmax(-1) == batch.masked_ids) * batch.masked_weights

    accuracy = (right.sum() / batch.masked_weights.sum()).item()
    assert accuracy == pytest.approx(float(goldens["accuracy"]), abs=1e-7)


def test_clipping_uses_the_norm_that_the_reference_computes(goldens):
    """The reference clips all gradients together at 1.0, so every ratio is 1 / norm."""
    norm = float(goldens["global_norm"])
    plain = {key[9:]: value for key, value in goldens.items() if key.startswith("gradient/")}
    assert norm > 1
    ours = np.sqrt(sum(np.square(value, dtype=np.float64).sum() for value in plain.values()))
    assert ours == pytest.approx(norm, rel=1e-5)
    for name, value in plain.items():
        close(value / ours, goldens[f"clipped/{name}"], relative=1e-5)


def hyperparameters(setting, rates):
    init_lr, train_steps, warmup, start, power = rates
    beta_1, beta_2, decay = setting
    return config.Hyperparameters(
        global_batch_size=4,
        gradient_accumulation_steps=1,
        max_sequence_length=LENGTH,
        max_predictions_per_seq=4,
        opt_name="lamb",
        opt_base_learning_rate=init_lr,
        opt_lamb_epsilon=1e-6,
        opt_lamb_beta_1=beta_1,
        opt_lamb_beta_2=beta_2,
        opt_lamb_weight_decay_rate=decay,
        opt_lamb_learning_rate_decay_poly_power=power,
        opt_learning_rate_training_steps=train_steps,
        opt_learning_rate_warmup_steps=warmup,
        num_warmup_steps=warmup,
        start_warmup_step=start,
    )


@pytest.mark.parametrize("index", range(len(inputs.BERT_SCHEDULES)))
def test_every_learning_rate_is_the_references(index, goldens):
    values = hyperparameters((0.9, 0.999, 0.01), inputs.BERT_SCHEDULES[index])
    ours = [schedule.learning_rate(step, values) for step in inputs.BERT_SCHEDULE_STEPS]

    # The reference computes 1 - s/T in fp32: near the end its rounding is a share of the base rate.
    base = inputs.BERT_SCHEDULES[index][0]
    assert ours == pytest.approx(goldens[f"schedule/{index}"].tolist(), abs=2e-7 * base, rel=1e-6)


class Tensors(torch.nn.Module):
    """The variables of the LAMB comparison as a module that Flat can take."""

    def __init__(self):
        super().__init__()
        self.sizes = None
        for number, name in enumerate(inputs.LAMB_VARIABLES):
            weight = torch.from_numpy(inputs.lamb_weight(name)).float()
            self.register_parameter(f"p{number}", torch.nn.Parameter(weight))


@pytest.mark.parametrize("index", range(len(inputs.LAMB_SETTINGS)))
def test_ten_lamb_updates_are_the_references(index, goldens, monkeypatch):
    table = [
        variables.Variable(name=name, shape=shape, parameter=f"p{number}", rows=shape[0])
        for number, (name, shape) in enumerate(inputs.LAMB_VARIABLES.items())
    ]
    monkeypatch.setattr(flat, "variables", lambda _: table)
    chosen = inputs.LAMB_SCHEDULE
    rates = (chosen["init_lr"], chosen["train_steps"], chosen["warmup_steps"],
             chosen["start_warmup_step"], 1.0)  # fmt: skip
    net = Tensors()
    buffers = flat.Flat(net)
    optimizer = lamb.Lamb(buffers, hyperparameters(inputs.LAMB_SETTINGS[index], rates))
    for step in range(inputs.LAMB_STEPS):
        for variable in table:
            gradient = torch.from_numpy(inputs.lamb_gradient(variable.name, step))
            net.get_parameter(variable.parameter).grad.copy_(gradient)
        optimizer.step(buffers.gradients)
        for variable in table:
            expected = goldens[f"lamb/{index}/{step}/{variable.name}"]
            close(net.get_parameter(variable.parameter).detach(), expected, relative=1e-6)


def test_accumulated_micro_gradients_are_clipped_each_and_averaged(goldens):
    """deferred_grad_optimizer.py:99-135, and the rule by which our program accumulates."""
    weight = inputs.array("micro.weight", (8, 8))
    close(weight, goldens["accumulation/0"], relative=1e-6)  # nothing happens at the first
    for index in (0, 2):
        pair = [inputs.array(f"micro{index + k}", (8, 8), scale=3.0) for k in (0, 1)]
        clipped = [g / max(1.0, np.linalg.norm(g)) for g in pair]
        weight = weight - sum(clipped) / 2
        close(weight, goldens[f"accumulation/{index + 1}"], relative=1e-6)


def test_our_table_of_variables_is_the_references(goldens):
    expected = {
        key[9:]: value.shape for key, value in goldens.items() if key.startswith("gradient/")
    }
    ours = {variable.name: variable.shape for variable in variables.variables(SIZES)}

    assert ours == expected
    assert dataclasses.replace(SIZES).hidden_size == inputs.BERT["hidden_size"]
