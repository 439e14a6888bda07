"""The reference's 398 trainable variables <-> places in our parameters.

One table serves three readers: LAMB, whose trust ratios are per variable of the reference and not
per tensor of ours (Q, K and V lie fused); checkpoints, which are read by the reference's names; and
the flat buffers that the optimizer works on.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from bert.config import Sizes

# optimization.py:105 exclude_from_weight_decay; lamb_optimizer_v1.py:53-58 takes it for ratios too
_EXCLUDED = re.compile("LayerNorm|layer_norm|bias")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A trainable variable of the reference and where its values are in ours."""

    name: str  # the reference's
    shape: tuple[int, ...]  # the reference's; a kernel is [in, out]
    parameter: str  # ours
    start: int = 0  # first row (first index of ours)
    rows: int  # how many
    transposed: bool = False  # ours is [out, in]

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def adapted(self) -> bool:
        """Say whether LAMB decays it and scales its update by the trust ratio."""
        return _EXCLUDED.search(self.name) is None


def variables(sizes: Sizes) -> list[Variable]:
    """List all variables, in the order of the network."""
    return [*_embeddings(sizes), *_encoder(sizes), *_heads(sizes)]


def parameter_count(sizes: Sizes) -> int:
    """Count trainable values; 336,226,108 for BERT-large."""
    return sum(variable.size for variable in variables(sizes))


def _embeddings(sizes: Sizes) -> Iterator[Variable]:
    tables = {
        "word_embeddings": sizes.vocab_size,
        "token_type_embeddings": sizes.type_vocab_size,
        "position_embeddings": sizes.max_position_embeddings,
    }
    for table, rows in tables.items():
        yield Variable(
            name=f"bert/embeddings/{table}",
            shape=(rows, sizes.hidden_size),
            parameter=table,
            rows=rows,
        )
    yield from _norm("bert/embeddings", "embedding_norm", sizes.hidden_size)


def _encoder(sizes: Sizes) -> Iterator[Variable]:
    hidden, inner = sizes.hidden_size, sizes.intermediate_size
    for number in range(sizes.num_hidden_layers):
        theirs, ours = f"bert/encoder/layer_{number}", f"layers.{number}"
        for part, name in enumerate(("query", "key", "value")):
            yield from _dense(
                f"{theirs}/attention/self/{name}", f"{ours}.qkv", hidden, hidden, part * hidden
            )
        output = f"{theirs}/attention/output"
        yield from _dense(f"{output}/dense", f"{ours}.attention_output", hidden, hidden)
        yield from _norm(output, f"{ours}.attention_norm", hidden)
        yield from _dense(f"{theirs}/intermediate/dense", f"{ours}.intermediate", hidden, inner)
        yield from _dense(f"{theirs}/output/dense", f"{ours}.output", inner, hidden)
        yield from _norm(f"{theirs}/output", f"{ours}.output_norm", hidden)


def _heads(sizes: Sizes) -> Iterator[Variable]:
    hidden, vocabulary = sizes.hidden_size, sizes.vocab_size
    yield from _dense("bert/pooler/dense", "pooler", hidden, hidden)
    yield from _dense("cls/predictions/transform/dense", "transform", hidden, hidden)
    yield from _norm("cls/predictions/transform", "transform_norm", hidden)
    bias = "cls/predictions/output_bias"
    yield Variable(name=bias, shape=(vocabulary,), parameter="output_bias", rows=vocabulary)
    head = "cls/seq_relationship/output"  # already [out, in], run_pretraining.py:328-331
    yield Variable(
        name=f"{head}_weights", shape=(2, hidden), parameter="next_sentence.weight", rows=2
    )
    yield Variable(name=f"{head}_bias", shape=(2,), parameter="next_sentence.bias", rows=2)


def _dense(theirs: str, ours: str, wide: int, out: int, start: int = 0) -> Iterator[Variable]:
    yield Variable(
        name=f"{theirs}/kernel",
        shape=(wide, out),
        parameter=f"{ours}.weight",
        start=start,
        rows=out,
        transposed=True,
    )
    yield Variable(
        name=f"{theirs}/bias", shape=(out,), parameter=f"{ours}.bias", start=start, rows=out
    )


def _norm(theirs: str, ours: str, width: int) -> Iterator[Variable]:
    for name, parameter in (("beta", "bias"), ("gamma", "weight")):
        yield Variable(
            name=f"{theirs}/LayerNorm/{name}",
            shape=(width,),
            parameter=f"{ours}.{parameter}",
            rows=width,
        )
