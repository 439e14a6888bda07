"""The evaluation set to one masked-LM accuracy: every sequence once, every masked token weighs 1.

The reference's metric is a token micro-average over exactly 10,000 sequences
(run_pretraining.py:213-246); a mean of batch means would be another number. The set is read once,
after the clock has started, and stays on the device.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from bert.config import Config
from bert.data import collate, open_rows, samples_by_manifest, to_device
from bert.model import Batch, Bert
from bert.packing import RowError, check_rows
from torch import Tensor

from pytorch_common import distributed
from pytorch_common.distributed import Process
from pytorch_common.failure import RunError

Judge = Callable[[Batch], Tensor]  # what `judged` says of a batch, computed in some way


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """What one evaluation found."""

    accuracy: float  # of masked tokens
    next_accuracy: float  # of next-sentence predictions
    masked_tokens: int
    sequences: int


def check_count(data: Path, config: Config) -> int:
    """Return how many sequences the evaluation set has; the manifest says it without a look inside.

    Raises RunError where the rules ask for another number.
    """
    found = samples_by_manifest(data).get("eval", 0)
    wanted = config.training.eval_samples
    if found < 1 or wanted not in (0, found):
        raise RunError(
            f"{data / 'dataset.json'}: the evaluation set has {found} sequences, but"
            f" training.eval_samples is {wanted}; prepare exactly that many."
        )
    return found


def load(data: Path, config: Config, process: Process) -> list[Batch]:
    """Read this rank's share of the evaluation set to the device, in batches of one shape."""
    store = open_rows(
        data / "eval",
        sequences_per_row=config.training.sequences_per_row,
        length=config.hyperparameters.max_sequence_length,
    )
    mine = store.take(np.arange(process.rank, len(store), process.world_size))
    try:
        check_rows(mine, vocab_size=config.model.vocab_size, where=str(data / "eval"))
    except RowError as error:
        raise RunError(f"{error}; prepare the evaluation set again.") from error
    batches = max(1, -(-len(mine) // config.training.eval_rows))
    padded = np.zeros(batches * config.training.eval_rows, dtype=store.dtype)  # 0s weigh nothing
    padded[: len(mine)] = mine
    form = config.training.form
    return [to_device(collate(part, form), process.device) for part in np.split(padded, batches)]


def judged(logits: tuple[Tensor, Tensor], batch: Batch) -> Tensor:
    """Return float64 [4]: right tokens, tokens, right next sentences, sequences."""
    masked, following = logits
    right = (masked.argmax(-1) == batch.masked_ids) * batch.masked_weights
    right_next = (following.argmax(-1) == batch.next_is_random) * batch.sequence_weights
    sums = (right, batch.masked_weights, right_next, batch.sequence_weights)
    return torch.stack([one.sum(dtype=torch.float64) for one in sums])


class Evaluation:
    """The whole set on all ranks' devices, ready to be run again and again."""

    def __init__(
        self,
        model: Bert,
        judge: Judge,
        data: Path,
        config: Config,
        process: Process,
        *,
        sequences: int,
    ) -> None:
        self.model, self.judge, self.sequences = model, judge, sequences
        self.batches = load(data, config, process)

    @torch.no_grad()
    def __call__(self) -> Evaluated:
        """Evaluate on all ranks. Raises RunError when the sequences are not all there."""
        self.model.eval()
        totals = torch.zeros(4, dtype=torch.float64, device=self.batches[0].tokens.device)
        for batch in self.batches:
            totals.add_(self.judge(batch))
        self.model.train()
        right, tokens, right_next, seen = distributed.sum_(totals).tolist()
        if seen != self.sequences:
            raise RunError(
                f"the evaluation set holds {int(seen)} sequences and its manifest promises"
                f" {self.sequences}; prepare it again."
            )
        return Evaluated(
            accuracy=right / tokens,
            next_accuracy=right_next / seen,
            masked_tokens=int(tokens),
            sequences=int(seen),
        )
