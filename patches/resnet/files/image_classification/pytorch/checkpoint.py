"""A finished network to one safetensors file, for whoever wants to look at what was trained.

Off by default: the rules do not ask for it and the clock has stopped by then. Weights are the fp32
masters, under the names of model.py; it is never read back by a run.
"""

from pathlib import Path

import torch

from image_classification.pytorch.step import Learner

FILE = "weights.safetensors"


def save(learner: Learner, folder: Path) -> Path:
    """Write weights and batch-norm statistics; a file of that name is always a whole one."""
    from safetensors.torch import save_file  # noqa: PLC0415 - only where it is asked for

    names = [name for name, _ in learner.model.named_parameters()]
    tensors = dict(zip(names, learner.masters.tensors, strict=True))
    tensors |= dict(learner.model.named_buffers())
    target, partial = folder / FILE, folder / f".{FILE}.partial"
    save_file(
        {
            name: tensor.detach().to("cpu", torch.float32, copy=True).contiguous()
            for name, tensor in tensors.items()
        },
        partial,
    )
    partial.replace(target)
    return target
