"""Batches to one update of the weights: gradients, clipping, reduction over ranks, LAMB.

Nothing here waits for the device: losses are summed there, and read when someone evaluates.
"""

from collections.abc import Callable, Sequence

import torch
from bert.config import Clip, Config
from bert.flat import Flat
from bert.lamb import Lamb
from bert.model import Batch, Bert, losses
from torch import Tensor, distributed

from pytorch_common.distributed import Process

Losses = Callable[[Batch], tuple[Tensor, Tensor]]  # masked LM, next sentence


class Update:
    """One optimizer step on all ranks. Owns the flat buffers and the optimizer."""

    def __init__(self, model: Bert, config: Config, process: Process, flat: Flat) -> None:
        training = config.training
        self.losses: Losses = lambda batch: losses(model(batch), batch)
        self.ranks, self.rank = process.world_size, process.rank
        self.clip, self.clip_norm = training.clip, training.clip_norm
        self.accumulation = config.hyperparameters.gradient_accumulation_steps
        self.sharded = training.sharded_optimizer and self.ranks > 1
        self.flat, self.device = flat, process.device
        shares = self.ranks if self.sharded else 1
        self.lamb = Lamb(
            flat, config.hyperparameters, number=self.rank if self.sharded else 0, shares=shares
        )
        flat.release_master()
        # Micro-gradients are summed in fp32 where there is more than one.
        self.total = flat.gradients
        if self.accumulation > 1:
            self.total = torch.zeros_like(flat.gradients, dtype=torch.float32)
        self.loss_sums = torch.zeros(2, device=flat.weights.device)  # masked-LM, next sentence

    def __call__(self, batches: Sequence[Batch]) -> None:
        """Take one step on the micro-batches of this rank."""
        for batch in batches:
            self.add_gradients(batch)
        self.apply()

    def add_gradients(self, batch: Batch) -> None:
        """Add the gradients of one micro-batch, clipped by their own norm where that is asked.

        The reference clips per replica and per micro-batch and sums a share of 1 / n of each:
        optimization.py:114-117, deferred_grad_optimizer.py:113-131.
        """
        gradients = self.flat.gradients.zero_()
        masked, following = self.losses(batch)
        (masked + following).backward()
        self.loss_sums.add_(torch.stack([masked, following]).detach(), alpha=1 / self.accumulation)
        if self.clip is Clip.BEFORE:
            clip_(gradients, norm(gradients), self.clip_norm)
        if self.total is not gradients:
            self.total.add_(gradients, alpha=1 / self.accumulation)

    @torch.no_grad()
    def apply(self) -> None:
        """Average over ranks and update the weights; the gradients are spent afterwards."""
        mine = self._reduced()
        if self.clip is Clip.AFTER:
            squares = norm(mine).square()
            if self.sharded:
                distributed.all_reduce(squares)
            clip_(mine, squares.sqrt(), self.clip_norm)
        self.lamb.step(mine)
        if self.sharded:
            distributed.all_gather_into_tensor(self.flat.weights, self.lamb.weights)
        if self.total is not self.flat.gradients:
            self.total.zero_()

    def state(self) -> list[Tensor]:
        """Copy everything that a step changes."""
        return [tensor.clone() for tensor in self._changing()]

    def restore(self, state: Sequence[Tensor]) -> None:
        """Put a copy back in place."""
        for tensor, kept in zip(self._changing(), state, strict=True):
            tensor.copy_(kept)

    def _changing(self) -> list[Tensor]:
        lamb = self.lamb
        mine = [lamb.master, lamb.m, lamb.v, lamb.steps_taken]
        return [self.flat.weights, self.total, self.loss_sums, *mine]

    def _reduced(self) -> Tensor:
        """Return the mean gradients over ranks of what this rank updates."""
        if self.ranks == 1:
            return self.total
        self.total.div_(self.ranks)
        if not self.sharded:
            distributed.all_reduce(self.total)
            return self.total
        mine = self.flat.share(self.total, self.rank)
        distributed.reduce_scatter_tensor(mine, self.total)
        return mine


def norm(gradients: Tensor) -> Tensor:
    """Return the Euclidean norm of a flat buffer in fp32, a scalar on its device."""
    return torch.linalg.vector_norm(gradients, dtype=torch.float32)


def clip_(gradients: Tensor, size: Tensor, limit: float) -> None:
    """Scale a flat buffer down to the norm `limit`, as tf.clip_by_global_norm."""
    gradients.mul_(limit / size.clamp(min=limit))
