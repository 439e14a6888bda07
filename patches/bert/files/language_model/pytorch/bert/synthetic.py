"""A configuration to random batches of its shapes, with lengths as real text has them.

For checks, warm-up and measurements: nothing can be learned from them.
"""

import numpy as np
import torch
from bert.config import Config, Form
from bert.data import collate, to_device
from bert.model import Batch
from bert.packing import DEPTH, MASK_RATE, pack, row_dtype

# Share of sequences by length, in eighths of the longest; the last is exactly the longest. From the
# published histogram of the 512-token Wikipedia set (16.3 M sequences, mean 255).
SHARES = (0.176, 0.194, 0.114, 0.083, 0.065, 0.053, 0.044, 0.038, 0.234)

PROOF_ROWS = 4  # of a batch to compare ways of computing with


def lengths(count: int, longest: int, generator: np.random.Generator) -> np.ndarray:
    """Draw lengths from 5 tokens to `longest` with the shape of the Wikipedia set."""
    width = longest // (len(SHARES) - 1)
    bins = generator.choice(len(SHARES), size=count, p=np.array(SHARES) / sum(SHARES))
    drawn = bins * width + generator.integers(1, width + 1, size=count)
    return np.clip(np.where(bins == len(SHARES) - 1, longest, drawn), 5, longest)


def sequences(
    count: int, *, longest: int, vocab_size: int, most_masked: int, seed: int
) -> np.ndarray:
    """Make SEQUENCE records of random tokens, masked as often as the data is."""
    generator = np.random.default_rng(seed)
    records = np.zeros(count, dtype=row_dtype(longest, 1))
    for record, length in zip(records, lengths(count, longest, generator), strict=True):
        masked = min(most_masked, max(1, round(MASK_RATE * int(length))))
        record["tokens"][:length] = generator.integers(5, vocab_size, size=length)
        record["lengths"], record["masked"] = length, masked
        record["first_segments"] = generator.integers(2, length)
        record["next_is_random"] = generator.integers(2)
        places = np.sort(generator.permutation(length)[:masked])
        record["masked_positions"][:masked] = places
        record["masked_ids"][:masked] = generator.integers(5, vocab_size, size=masked)
    return records


def random_rows(config: Config, *, count: int, seed: int) -> np.ndarray:
    """Make packed rows (or rows of one sequence, where the configuration's data has those)."""
    per_row = config.training.sequences_per_row
    made = sequences(
        2 * DEPTH * count,
        longest=config.hyperparameters.max_sequence_length,
        vocab_size=config.model.vocab_size,
        most_masked=config.hyperparameters.max_predictions_per_seq,
        seed=seed,
    )
    packed = pack(made, depth=1 if per_row == 1 else DEPTH, seed=seed)
    return packed[np.random.default_rng(seed).permutation(len(packed))[:count]]


def batch(config: Config, *, rows: int, seed: int, device: torch.device) -> Batch:
    """Make one batch of the configuration's form."""
    form: Form = config.training.form
    return to_device(collate(random_rows(config, count=rows, seed=seed), form), device)
