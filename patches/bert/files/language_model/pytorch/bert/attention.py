"""Queries, keys and values of segments to contexts: softmax attention that never crosses segments.

Four routes compute the same thing (modeling.py:768-820): `plain` is the one to compare with,
`sdpa` works everywhere, the two `varlen` routes are for GPUs and skip the blocks off the diagonal.
Dropout acts on the probabilities in all of them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pytorch_common.failure import RunError

MASKED = -10000.0  # added to the scores of what may not be attended, modeling.py:797-798


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """Where the segments of a batch of T tokens lie. Padding is a segment of its own."""

    numbers: Tensor  # int64 [rows, length]: which segment of its row a token belongs to
    bounds: Tensor  # int32 [segments + 1]: cumulative lengths over the T tokens; empty ones allowed
    present: Tensor | None = None  # int64 [T]: which of rows * length are there; None: all

    def mask(self, dtype: torch.dtype) -> Tensor:
        """Return what to add to scores: [rows, 1, length, length], 0 inside a segment."""
        same = self.numbers[:, None, :, None] == self.numbers[:, None, None, :]
        return torch.zeros_like(same, dtype=dtype).masked_fill_(~same, MASKED)


Route = Callable[[Tensor, Segments, Tensor | None, float], Tensor]


def plain(qkv: Tensor, segments: Segments, mask: Tensor | None, dropout: float) -> Tensor:
    """Attend by the formula, in as many steps as it has. [T, 3, heads, d] -> [T, heads, d]."""
    q, k, v = _rows(qkv, segments)  # [rows, heads, length, d] each
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + mask
    probabilities = functional.dropout(scores.softmax(-1), dropout, training=dropout > 0)
    return _tokens(probabilities @ v, segments)


def sdpa(qkv: Tensor, segments: Segments, mask: Tensor | None, dropout: float) -> Tensor:
    """Attend by PyTorch's fused operator with an additive mask."""
    q, k, v = _rows(qkv, segments)
    return _tokens(functional.scaled_dot_product_attention(q, k, v, mask, dropout), segments)


def torch_varlen(qkv: Tensor, segments: Segments, mask: Tensor | None, dropout: float) -> Tensor:
    """Attend by the FlashAttention-2 inside PyTorch; its public form has no dropout."""
    del mask
    q, k, v = qkv.unbind(1)  # [T, heads, d] each
    longest = segments.numbers.shape[1]
    bounds = segments.bounds
    out: Tensor = torch.ops.aten._flash_attention_forward(  # noqa: SLF001 - see the docstring
        q, k, v, bounds, bounds, longest, longest, dropout, is_causal=False, return_debug_mask=False
    )[0]
    return out


def flash_attn_varlen(
    qkv: Tensor, segments: Segments, mask: Tensor | None, dropout: float
) -> Tensor:
    """Attend by the flash-attn package."""
    from flash_attn import flash_attn_varlen_qkvpacked_func  # noqa: PLC0415 - only some images

    del mask
    longest = segments.numbers.shape[1]
    out: Tensor = flash_attn_varlen_qkvpacked_func(qkv, segments.bounds, longest, dropout)
    return out


ROUTES: dict[str, Route] = {
    "flash-attn": flash_attn_varlen,
    "torch-varlen": torch_varlen,
    "sdpa": sdpa,
    "plain": plain,
}
NEEDS_MASK = frozenset({"sdpa", "plain"})


def candidates(asked: str, *, on_gpu: bool) -> list[str]:
    """Return the routes to try, fastest first, for `auto` or one name. Raises RunError."""
    if asked == "auto":
        return ["flash-attn", "torch-varlen", "sdpa"] if on_gpu else ["sdpa"]
    if asked not in ROUTES:
        names = ", ".join(("auto", *ROUTES))
        raise RunError(f"training.attention is {asked!r}; use one of {names}.")
    if asked not in NEEDS_MASK and not on_gpu:
        raise RunError(f"training.attention is {asked}, which needs a GPU; use auto or sdpa.")
    return [asked]


def _rows(qkv: Tensor, segments: Segments) -> tuple[Tensor, ...]:
    """[T, 3, heads, d] -> three of [rows, heads, length, d]; absent tokens are 0."""
    rows, length = segments.numbers.shape
    if segments.present is not None:
        whole = qkv.new_zeros(rows * length, *qkv.shape[1:])
        qkv = whole.index_copy(0, segments.present, qkv)
    return qkv.view(rows, length, *qkv.shape[1:]).permute(2, 0, 3, 1, 4).unbind(0)


def _tokens(context: Tensor, segments: Segments) -> Tensor:
    """[rows, heads, length, d] -> [T, heads, d]."""
    tokens = context.transpose(1, 2).flatten(0, 1)
    return tokens if segments.present is None else tokens.index_select(0, segments.present)
