"""The products and the memory traffic of a BERT-large step, counted for docs/bert.md.

python benchmarks/work_bert.py [--rows 48] [--gigabytes-per-second 4300] [--teraflops 790]

Lengths follow the published histogram of the Wikipedia set. A multiply-add is two operations,
training is three passes. A model, not a measurement: what it predicts is a limit.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [
    str(ROOT / "patches/common/files"),
    str(ROOT / "patches/bert/files/language_model/pytorch"),
]

from bert import synthetic  # noqa: E402
from bert.config import Sizes  # noqa: E402
from bert.packing import plan_rows  # noqa: E402
from bert.variables import parameter_count  # noqa: E402

SIZES, LENGTH, PASSES = Sizes(), 512, 3
SEQUENCES_PER_ROW = 2
# Bytes per weight of one update: fp32 m, v and master, a quotient u, bf16 gradients and weights.
# One compiled kernel for m, v, u (2 + 8 + 8 + 4), decay (12), two norms (8), ratios (8), the
# update (12) and the weights that compute (2 + 4).
LAMB_BYTES = 22 + 12 + 8 + 8 + 12 + 6


def operations() -> dict[str, float]:
    """Return the operations of one real sequence, by where they are, in training."""
    lengths = synthetic.lengths(1_000_000, LENGTH, np.random.default_rng(0)).astype(np.float64)
    hidden, inner, layers = SIZES.hidden_size, SIZES.intermediate_size, SIZES.num_hidden_layers
    tokens, squares = lengths.mean(), np.square(lengths).mean()
    masked = 0.15 * tokens
    layer = 2 * (4 * hidden**2 + 2 * hidden * inner)  # products per token
    after_attention = layer - 2 * 3 * hidden**2
    return {
        "encoder products": PASSES * layers * layer * tokens,
        "attention": PASSES * layers * 4 * hidden * squares,
        "masked-LM head, masked tokens only": PASSES
        * masked
        * 2
        * (hidden**2 + hidden * SIZES.vocab_size),
        "last layer for what the heads read": -PASSES * after_attention * (tokens - masked - 1),
    }


def padded() -> dict[str, float]:
    """Return the same for one sequence in a row of 512, vocabulary head on every token."""
    hidden, inner, layers = SIZES.hidden_size, SIZES.intermediate_size, SIZES.num_hidden_layers
    layer = 2 * (4 * hidden**2 + 2 * hidden * inner)
    return {
        "padded to 512": PASSES * layers * (layer * LENGTH + 4 * hidden * LENGTH**2),
        "vocabulary head on all 512": PASSES * LENGTH * 2 * (hidden**2 + hidden * SIZES.vocab_size),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=48, help="packed rows of one accelerator")
    parser.add_argument("--gigabytes-per-second", type=float, default=4300)
    parser.add_argument("--teraflops", type=float, default=790)
    options = parser.parse_args()
    rate = options.teraflops * 1e12
    sequences = options.rows * SEQUENCES_PER_ROW
    ours, theirs = operations(), padded()
    for name, count in ours.items():
        print(f"| {name} | {count / 1e9:.1f} |")
    total, other = sum(ours.values()), sum(theirs.values())
    print(f"| **packed, as the program computes it** | {total / 1e9:.1f} |")
    print(f"| padded to 512, vocabulary head on every token | {other / 1e9:.1f} |")
    print()
    per_step = sequences * total / rate
    print(f"| products of {sequences} sequences | {per_step * 1e3:.1f} |")
    weights = parameter_count(SIZES)
    for shares in (1, 8):
        traffic = weights * LAMB_BYTES / shares / (options.gigabytes_per_second * 1e9)
        print(f"| LAMB, {LAMB_BYTES} bytes a weight, {shares} shares | {traffic * 1e3:.1f} |")
    print()
    print(f"| all products at {options.teraflops:.0f} TFLOP/s | {rate / total:,.0f} |")
    print(f"| padded | {rate / other:,.0f} |")
    lengths = synthetic.lengths(100_000, LENGTH, np.random.default_rng(1))
    rows = len(plan_rows(lengths))
    padding = 1 - lengths.sum() / rows / LENGTH
    print()
    print(f"| {len(lengths) / rows:.3f} sequences a row | {padding:.2%} padding |")


if __name__ == "__main__":
    main()
