import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pytorch_common.gradients import Gradients
from pytorch_common.masters import Masters


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def backward(model, x):
    loss = model(x).square().sum()
    loss.backward()
    return loss


def test_gradients_of_micro_batches_are_summed_in_parameter_order():
    model, plain = network(), network()
    gradients = Gradients(list(model.parameters()), bucket_elements=10)
    x = torch.randn(4, 3)
    for index, part in enumerate(x.split(2)):
        gradients.begin(first=index == 0, last=index == 1)
        backward(model, part)
    gradients.finish()
    backward(plain, x)
    for summed, parameter in zip(gradients.tensors, plain.parameters(), strict=True):
        assert torch.allclose(summed, parameter.grad, atol=1e-6)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_first_micro_batch_of_the_next_update_begins_anew():
    model = network()
    gradients = Gradients(list(model.parameters()))
    x = torch.randn(2, 3)
    for _ in range(2):
        gradients.begin(first=True, last=True)
        gradients.add_loss(backward(model, x), first=True)
        gradients.finish()
    plain = network()
    loss = backward(plain, x)
    assert torch.allclose(gradients.tensors[0], plain[0].weight.grad)
    assert torch.allclose(gradients.loss, loss)


def test_low_precision_gradients_are_summed_in_fp32():
    model = network().bfloat16()
    gradients = Gradients(list(model.parameters()))
    for index in range(2):
        gradients.begin(first=index == 0, last=index == 1)
        backward(model, torch.ones(1, 3, dtype=torch.bfloat16))
    assert {tensor.dtype for tensor in gradients.tensors} == {torch.float32}


def test_channels_last_weights_get_gradients_of_their_own_strides():
    weight = nn.Parameter(torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last))
    assert Gradients([weight]).tensors[0].stride() == weight.stride()


def test_masters_keep_what_low_precision_copies_round():
    weight, bias = nn.Parameter(torch.full((2,), 1.001)), nn.Parameter(torch.zeros(2))
    masters = Masters([weight, bias])
    masters.cast([weight, bias], [True, False], torch.bfloat16)
    assert weight.dtype is torch.bfloat16
    assert masters.tensors[0].tolist() == torch.full((2,), 1.001).tolist()
    masters.tensors[0].fill_(3.0)
    masters.publish()
    assert weight.tolist() == [3.0, 3.0]
    masters.tensors[1].fill_(5.0)  # an fp32 parameter is its own master
    assert bias.tolist() == [5.0, 5.0]


def test_gradients_begin_where_vector_loads_can():
    gradients = Gradients([nn.Parameter(torch.zeros(size)) for size in (64, 1000, 4)])
    assert all(tensor.storage_offset() % 4 == 0 for tensor in gradients.tensors)


def test_gradients_are_gathered_in_lists_of_one_type(monkeypatch):
    """torch copies a list of several types tensor by tensor (ForeachBinaryOpList.cu)."""
    kinds = []
    plain = torch._foreach_copy_

    def copy(views, gradients):
        kinds.append({gradient.dtype for gradient in gradients})
        plain(views, gradients)

    monkeypatch.setattr(torch, "_foreach_copy_", copy)
    low, full = nn.Parameter(torch.ones(3).bfloat16()), nn.Parameter(torch.ones(3))
    gradients = Gradients([low, full])
    gradients.begin(first=True, last=True)
    (low.float() * full * 2).sum().backward()
    assert sorted(map(str, kinds)) == ["{torch.bfloat16}", "{torch.float32}"]
    assert [tensor.tolist() for tensor in gradients.tensors] == [[2.0] * 3] * 2


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    elements=st.integers(1, 20),
    micro_batches=st.integers(1, 3),
)
@settings(max_examples=40, deadline=None)
def test_any_cut_into_buckets_gives_every_gradient_once(sizes, elements, micro_batches):
    parameters = [nn.Parameter(torch.full((size,), 2.0)) for size in sizes]
    gradients = Gradients(parameters, bucket_elements=elements)
    for _ in range(2):
        for index in range(micro_batches):
            first, last = index == 0, index == micro_batches - 1
            gradients.begin(first=first, last=last)
            loss = sum((at + 1) * parameter.sum() for at, parameter in enumerate(parameters))
            gradients.add_loss(loss.reshape(1), first=first)
            loss.backward()
        gradients.finish()
    for at, tensor in enumerate(gradients.tensors):
        assert tensor.tolist() == [(at + 1.0) * micro_batches] * sizes[at]
    whole = sum((at + 1) * 2.0 * size for at, size in enumerate(sizes))
    assert gradients.loss.item() == whole * micro_batches
