"""`model.safetensors` to a model's weights and back. Variables have the reference's names.

A kernel of the reference is [in, out], ours is [out, in]; Q, K and V lie in one of ours. It reads
one tensor at a time, and needs every variable in its exact shape.
"""

from pathlib import Path

import torch
from bert.convert import FILE
from bert.model import Bert, close_vocabulary
from bert.variables import Variable, variables
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pytorch_common.failure import RunError


def view(model: Bert, variable: Variable) -> Tensor:
    """Return the values of a variable inside our parameter, shaped as ours."""
    return model.get_parameter(variable.parameter).narrow(0, variable.start, variable.rows)


@torch.no_grad()
def load(model: Bert, folder: Path) -> None:
    """Give every variable its value. Raises RunError naming what is missing or misshapen."""
    path = folder / FILE
    wanted = variables(model.sizes)
    try:
        with safe_open(path, framework="pt") as file:
            _check(path, {name: file.get_slice(name).get_shape() for name in file.keys()}, wanted)  # noqa: SIM118 - not a mapping
            for variable in wanted:
                values = file.get_tensor(variable.name)
                view(model, variable).copy_(values.T if variable.transposed else values)
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"{path}: cannot be read ({error}); make it with `python -m bert.convert`."
        ) from error
    close_vocabulary(model)


def _check(path: Path, found: dict[str, list[int]], wanted: list[Variable]) -> None:
    """Raise RunError unless names and shapes are exactly those of the model."""
    shapes = {variable.name: list(variable.shape) for variable in wanted}
    if missing := sorted(shapes.keys() - found.keys()):
        raise RunError(f"{path}: {missing[0]} is missing; convert the rules' checkpoint again.")
    if spare := sorted(found.keys() - shapes.keys()):
        raise RunError(f"{path}: {spare[0]} is no variable of the model; convert it again.")
    for name, shape in shapes.items():
        if found[name] != shape:
            raise RunError(
                f"{path}: {name} has the shape {found[name]}, but the model needs {shape}; convert"
                " the rules' checkpoint again."
            )


def save(model: Bert, folder: Path) -> Path:
    """Write the model's weights in fp32 and return the path."""
    tensors = {}
    for variable in variables(model.sizes):
        values = view(model, variable).detach().float()
        values = values.T if variable.transposed else values
        tensors[variable.name] = values.contiguous().cpu()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / FILE)
    return folder / FILE
