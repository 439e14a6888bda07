"""The two halves of an update to CUDA graphs: no Python between kernels, same numbers.

Only for batches whose shapes never change. Where the driver, the attention route or the process
group cannot be captured, the update stays as it was, and the verdict says why.
"""

import torch
from bert.data import map_batch
from bert.model import Batch
from bert.update import Update
from torch import Tensor

from pytorch_common.fastpath import Verdict, prove


def capture(update: Update, example: Batch) -> Verdict:
    """Capture gradients and weight update, compare the losses they sum, and use them if equal.

    Dropout draws other numbers in a graph, so losses agree statistically only. Weights, moments
    and counters are left changed; the caller puts them back.
    """
    kept = update.state()
    update([example] * update.accumulation)
    plain = [update.loss_sums.clone()]
    slots = map_batch(example, torch.clone)
    halves: list[torch.cuda.CUDAGraph] = []

    def fast() -> list[Tensor]:
        update.restore(kept)
        torch.cuda.synchronize()
        for half in (lambda: update.add_gradients(slots), update.apply):
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                half()
            halves.append(graph)
        update.restore(kept)
        for _ in range(update.accumulation):
            halves[0].replay()
        halves[1].replay()
        return [update.loss_sums.clone()]

    verdict = prove("cuda-graph", fast, plain=plain, truth=None)
    if verdict.passed:
        update.add_gradients = _Replay(slots, halves[0])  # type: ignore[method-assign]
        update.apply = halves[1].replay  # type: ignore[method-assign]
    return verdict


class _Replay:
    """Copies a batch to where the graph reads it, then replays the graph."""

    def __init__(self, slots: Batch, graph: torch.cuda.CUDAGraph) -> None:
        self.tensors: list[Tensor] = []
        map_batch(slots, self._note)
        self.graph = graph

    def _note(self, tensor: Tensor) -> Tensor:
        self.tensors.append(tensor)
        return tensor

    def __call__(self, batch: Batch) -> None:
        places = iter(self.tensors)
        map_batch(batch, lambda tensor: next(places).copy_(tensor, non_blocking=True))
        self.graph.replay()
