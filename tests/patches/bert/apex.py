"""Stand-in for apex's CUDA kernels, on CPU tensors, by csrc/multi_tensor_lamb_mp.cu."""

import sys
from types import ModuleType

import torch

NAMES = ("amp_C", "apex", "apex.multi_tensor_apply")


def lamb(  # noqa: PLR0917 - as theirs
    chunk_size,
    noop_flag,
    tensor_lists,
    rate,
    beta1,
    beta2,
    epsilon,
    step,
    bias_correction,
    decay,
    grad_averaging,
    mode,
    global_norm,
    max_norm,
    use_nvlamb,
    found_inf,
    inv_scale,
):
    """Update in place; the gradients are overwritten by the update, as there."""
    assert (chunk_size, mode, grad_averaging, bias_correction) == (65536, 1, 1, 1)
    assert step.dtype == noop_flag.dtype == torch.int32
    assert {t.dtype for t in (rate, global_norm, max_norm, found_inf, inv_scale)} == {torch.float32}
    assert rate.numel() == step.numel() == 1
    assert not noop_flag.item()
    assert tensor_lists[0]
    clip = max(1.0, (global_norm / max_norm).item())
    t, lr = step.item(), rate.item()
    for g, p, m, v in zip(*tensor_lists, strict=True):
        assert {x.dtype for x in (g, p, m, v)} == {torch.float32}
        assert all(x.is_contiguous() for x in (g, p, m, v))
        scaled = g * inv_scale / clip
        m.mul_(beta1).add_(scaled, alpha=1 - beta1)
        v.mul_(beta2).addcmul_(scaled, scaled, value=1 - beta2)
        denominator = (v / (1 - beta2**t)).sqrt() + epsilon
        g.copy_(m / (1 - beta1**t) / denominator + decay * p)
        ratio = 1.0
        if use_nvlamb or decay != 0:
            p_norm, g_norm = p.norm().item(), g.norm().item()
            ratio = p_norm / g_norm if p_norm and g_norm else 1.0
        p.sub_(g, alpha=lr * ratio)


def install(monkeypatch, kernel=lamb):
    """Let `import amp_C` and `import apex` find the stand-in."""
    modules = {name: ModuleType(name) for name in NAMES}
    modules["amp_C"].multi_tensor_lamb_mp = kernel
    modules["apex.multi_tensor_apply"].multi_tensor_applier = apply
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)


def remove(monkeypatch):
    """Let their import fail."""
    for name in NAMES:
        monkeypatch.setitem(sys.modules, name, None)


def apply(kernel, noop_flag, tensor_lists, *arguments):
    return kernel(65536, noop_flag, tensor_lists, *arguments)
