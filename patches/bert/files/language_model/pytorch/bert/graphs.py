"""Functions of batches to CUDA graphs: no Python between kernels, same numbers.

Only for batches whose shapes never change: both halves of an update, and judging an evaluation
batch. Each is compared with the uncaptured way before the clock. Where the driver, the attention
route or the process group cannot be captured, on any rank, everything stays as it was.
"""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import torch
from bert.data import map_batch, tensors
from bert.model import Batch
from bert.update import Update
from torch import Tensor

from pytorch_common.fastpath import Verdict, agreed, on_all_ranks, prove
from pytorch_common.graphs import capture

T = TypeVar("T")


class Replay(Generic[T]):
    """A captured function of a batch: copies the batch to where the graph reads it, and replays.

    The result lies where it lay at the capture; the next call overwrites it.
    """

    def __init__(self, function: Callable[[Batch], T], example: Batch) -> None:
        slots = map_batch(example, torch.clone)
        self.slots = tensors(slots)
        self.replay, self.result = record(lambda: function(slots))

    def __call__(self, batch: Batch) -> T:
        """Do to this batch what was done to the example. Shapes and types must be the same."""
        for slot, tensor in zip(self.slots, tensors(batch), strict=True):
            slot.copy_(tensor, non_blocking=True)
        self.replay()
        return self.result


def record(run: Callable[[], T]) -> tuple[Callable[[], None], T]:
    """Capture work that has a result; return what replays it, and where its result will lie."""
    latest: list[T] = []

    def work() -> None:
        latest[:] = [run()]

    (replay,) = capture([work])
    return replay, latest[0]


def capture_gradients(update: Update, example: Batch) -> Verdict:
    """Capture forward and backward pass, compare the losses they sum, and use them if equal.

    Dropout draws other numbers in a graph, so losses agree statistically only. Weights, moments
    and counters are left changed; the caller puts them back.
    """
    kept = update.state()

    def losses(add_gradients: Callable[[Batch], None]) -> list[Tensor]:
        update.restore(kept)
        add_gradients(example)
        return [update.loss_sums.clone()]

    plain = losses(update.add_gradients)
    captured: list[Replay[None]] = []

    def fast() -> list[Tensor]:
        captured.append(
            on_all_ranks(lambda: Replay(update.add_gradients, example), device=update.device)
        )
        return losses(captured[0])

    verdict = prove("cuda-graph:gradients", fast, plain=plain, truth=None)
    verdict = agreed(verdict, device=update.device)
    if verdict.passed:
        update.add_gradients = captured[0]  # type: ignore[method-assign]
    return verdict


def capture_apply(update: Update) -> Verdict:
    """Capture reduction and LAMB, compare what they make of equal gradients, and use them if equal.

    The step is one from the middle of the schedule: the first may have a rate of 0. Weights,
    moments and counters are left changed; the caller puts them back.
    """
    kept = update.state()
    lamb = update.lamb
    before = lamb.master.clone()
    gradients = torch.randn_like(update.total)

    def change(apply: Callable[[], None]) -> list[Tensor]:
        update.restore(kept)
        lamb.steps_taken.fill_(len(lamb.table) // 2)
        update.total.copy_(gradients)
        apply()
        return [lamb.master - before]

    plain = change(update.apply)
    captured: list[Callable[[], None]] = []

    def fast() -> list[Tensor]:
        replay, _ = on_all_ranks(lambda: record(update.apply), device=update.device)
        captured.append(replay)
        return change(replay)

    verdict = prove("cuda-graph:update", fast, plain=plain, truth=None)
    verdict = agreed(verdict, device=update.device)
    if verdict.passed:
        update.apply = captured[0]  # type: ignore[method-assign]
    return verdict


def capture_judge(
    judge: Callable[[Batch], Tensor], examples: Sequence[Batch]
) -> tuple[Callable[[Batch], Tensor], Verdict]:
    """Capture the judging of a batch; return what to judge with, and the verdict on the graph.

    It is captured with the first example and compared on all of them, in reverse.
    """
    plain = [judge(example) for example in reversed(examples)]
    captured: list[Replay[Tensor]] = []

    def fast() -> list[Tensor]:
        captured.append(Replay(judge, examples[0]))
        return [captured[0](example).clone() for example in reversed(examples)]

    verdict = prove("cuda-graph:evaluation", fast, plain=plain, truth=None)
    verdict = agreed(verdict, device=plain[0].device)
    return (captured[0] if verdict.passed else judge), verdict
