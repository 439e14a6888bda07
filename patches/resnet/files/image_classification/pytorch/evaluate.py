"""Top-1 accuracy over every validation image, each counted exactly once on any number of ranks.

Every rank judges its images with its own batch-norm statistics, as the reference's replicas do
(they are ON_READ variables there). It changes nothing in the model.
"""

import torch
from torch import Tensor

from image_classification.pytorch.data import Batches
from image_classification.pytorch.model import ResNet
from pytorch_common import graphs
from pytorch_common.distributed import sum_
from pytorch_common.failure import RunError
from pytorch_common.fastpath import Verdict, prove


class Evaluation:
    """Evaluates a model on this rank's share of the validation set."""

    def __init__(
        self,
        model: ResNet,
        *,
        batch: int,
        image_size: int,
        input_dtype: torch.dtype,
    ) -> None:
        weight = next(iter(model.stem.conv.parameters()))
        self._model, self._dtype = model, weight.dtype
        self.images = torch.zeros(
            (batch, image_size, image_size, 3), dtype=input_dtype, device=weight.device
        )
        self.labels = torch.zeros(batch, dtype=torch.int64, device=weight.device)
        self._counts = torch.zeros(2, dtype=torch.int64, device=weight.device)
        self._judge = self._judge_batch

    def __call__(self, batches: Batches, count: int, samples: int) -> float:
        """Return the share of `samples` images that the model gets right, over all ranks."""
        self._model.eval()
        self._counts.zero_()
        for _ in range(count):
            batches.load(self.images, self.labels)
            self._judge()
        correct, seen = sum_(self._counts).tolist()  # the one wait for the device
        if seen != samples:
            raise RunError(f"evaluation counted {seen} of {samples} images; restore validation/.")
        return float(correct) / samples

    def capture(self) -> Verdict:
        """Judge batches by a CUDA graph from now on, if its counts are the plain way's."""
        self._model.eval()
        self.labels.copy_(torch.arange(len(self.labels)))

        def fast() -> list[Tensor]:
            (self._judge,) = graphs.capture([self._judge_batch])
            return [self._count_batch()]

        verdict = prove("evaluation as CUDA graph", fast, plain=[self._count_batch()], truth=None)
        if not verdict.passed:
            self._judge = self._judge_batch
        return verdict

    def _count_batch(self) -> Tensor:
        """Return how many of the loaded images are right and how many there are: (2,)."""
        self._counts.zero_()
        self._judge()
        return self._counts.clone()

    @torch.no_grad()
    def _judge_batch(self) -> None:
        x = self.images.permute(0, 3, 1, 2).to(self._dtype)  # (N, 3, S, S), channels_last
        predicted = self._model(x).argmax(dim=1)  # (N,)
        present = self.labels >= 0  # -1 only fills the last batch
        self._counts.add_(
            torch.stack([((predicted == self.labels) & present).sum(), present.sum()])
        )
