"""The rules' initial checkpoint, TF1 or TF2 form, to `model.safetensors`, bit for bit.

    python -m bert.convert .../model.ckpt-28252 FOLDER

Every trainable variable of the reference is found by name, in the reference's own shape; moments,
beta powers and the step are left behind, as the reference leaves them (modeling.py:316-340). It
refuses a checkpoint in which one is missing, misshapen or left over. Tensors pass one at a time.
"""

import argparse
import json
import re
import struct
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from bert.config import Sizes
from bert.tensor_bundle import OBJECT_GRAPH, BundleError, TensorBundle
from bert.variables import Variable, parameter_count, variables

FILE = "model.safetensors"
# What a checkpoint of a training run holds besides its variables.
_OPTIMIZER = re.compile(
    r"/(LAMB(_1)?|adam_[mv])$"  # moments of lamb_optimizer_v1.py, of optimization.py's AdamW
    r"|^(beta[12]_power|global_step|save_counter)(/|$)"
)
# TF1 name -> variable name in the TF2 form, applied in order; what tensorflow/models'
# tf2_encoder_checkpoint_converter.py does (official/nlp/bert/tf1_checkpoint_converter_lib.py).
_TF2_NAMES = (
    ("bert/", ""),
    ("encoder", "transformer"),
    ("embeddings/word_embeddings", "word_embeddings/embeddings"),
    ("embeddings/token_type_embeddings", "type_embeddings/embeddings"),
    ("embeddings/position_embeddings", "position_embedding/embeddings"),
    ("embeddings/LayerNorm", "embeddings/layer_norm"),
    ("attention/self", "self_attention"),
    ("attention/output/dense", "self_attention/attention_output"),
    ("attention/output/LayerNorm", "self_attention_layer_norm"),
    ("intermediate/dense", "intermediate"),
    ("output/dense", "output"),
    ("output/LayerNorm", "output_layer_norm"),
    ("pooler/dense", "pooler_transform"),
    ("cls/predictions/output_bias", "cls/predictions/output_bias/bias"),
    ("cls/seq_relationship/output_bias", "predictions/transform/logits/bias"),
    ("cls/seq_relationship/output_weights", "predictions/transform/logits/kernel"),
)


def tf2_name(name: str) -> str:
    """Return the name that a variable of the reference has in the TF2 form."""
    for old, new in _TF2_NAMES:
        name = name.replace(old, new)
    return name


def locate(bundle: TensorBundle, wanted: list[Variable]) -> dict[str, str]:
    """Return variable -> checkpoint key for all of them, and prove that nothing is left over."""
    names = bundle.names_of_variables()
    in_tf2 = OBJECT_GRAPH in bundle.entries
    keys = {v.name: _key(names, tf2_name(v.name) if in_tf2 else v.name) for v in wanted}
    if missing := [name for name, key in keys.items() if key is None]:
        raise BundleError(
            f"{bundle.prefix}: {len(missing)} variables are missing, the first is {missing[0]};"
            " use the checkpoint of the rules, model.ckpt-28252"
        )
    used = set(keys.values())
    unused = bundle.entries.keys() - used - {OBJECT_GRAPH}
    if spare := sorted(key for key in unused if not _OPTIMIZER.search(_plain(key))):
        raise BundleError(
            f"{bundle.prefix}: {len(spare)} tensors belong to no variable of the model, the first"
            f" is {spare[0]}; use the checkpoint of the rules, model.ckpt-28252"
        )
    return {name: key for name, key in keys.items() if key is not None}


def _key(names: Mapping[str, str], name: str) -> str | None:
    """Find a variable; in the TF2 form its name may stand behind the name of the whole model."""
    if name in names:
        return names[name]
    longer = [key for found, key in names.items() if found.endswith(f"/{name}")]
    return longer[0] if len(longer) == 1 else None


def _plain(key: str) -> str:
    return key.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE")


def read(bundle: TensorBundle, variable: Variable, key: str) -> np.ndarray:
    """Return a variable in the reference's shape. Raises BundleError when it cannot be that."""
    values = bundle.read(key)
    if values.dtype != np.float32 or values.size != variable.size:
        raise BundleError(
            f"{bundle.prefix}: {variable.name} is {values.dtype}{list(values.shape)}, but the model"
            f" needs float32{list(variable.shape)}; use the checkpoint of the rules"
        )
    if values.shape == variable.shape[::-1] and values.ndim > 1 and values.shape != variable.shape:
        values = values.T  # the next-sentence head of the TF2 form
    elif values.shape != variable.shape and OBJECT_GRAPH not in bundle.entries:
        raise BundleError(
            f"{bundle.prefix}: {variable.name} has the shape {list(values.shape)}, not"
            f" {list(variable.shape)}; use the checkpoint of the rules"
        )
    return values.reshape(variable.shape)  # the TF2 form splits heads


def convert(prefix: Path, folder: Path, sizes: Sizes | None = None) -> Path:
    """Write FOLDER/model.safetensors and return its path; it appears whole or not at all."""
    wanted = variables(sizes or Sizes())
    bundle = TensorBundle(prefix)
    keys = locate(bundle, wanted)
    header, end = {}, 0
    for variable in wanted:
        span = [end, end + 4 * variable.size]
        header[variable.name] = {
            "dtype": "F32",
            "shape": list(variable.shape),
            "data_offsets": span,
        }
        end = span[1]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{FILE}.partial"
    with partial.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for variable in wanted:
            file.write(np.ascontiguousarray(read(bundle, variable, keys[variable.name])).data)
    return partial.replace(folder / FILE)


def main() -> int:
    """Convert from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("prefix", type=Path, help="the checkpoint without .index and .data-...")
    parser.add_argument("folder", type=Path, help=f"where {FILE} is written")
    arguments = parser.parse_args()
    try:
        path = convert(arguments.prefix, arguments.folder)
    except BundleError as error:
        print(f"error: {error}.", file=sys.stderr)
        return 2
    print(f"{path}: {len(variables(Sizes()))} variables, {parameter_count(Sizes()):,} values")
    return 0


if __name__ == "__main__":
    sys.exit(main())
