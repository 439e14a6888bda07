"""TransformerEngine's fp8 products for the encoder: its linear layers, and when they use fp8.

Weights, optimizer, norms and both heads stay as they are; evaluation computes in bf16. The recipe
is the one of the published H100 runs: delayed scaling, E4M3 forward and E5M2 backward, the scale of
the step before. Needs Hopper or newer, and an image that carries TransformerEngine.
"""

from collections.abc import Callable

import torch
from bert.model import Batch, Bert
from torch import Tensor, nn

from pytorch_common.failure import RunError

MULTIPLE = 16  # of both sides of every product


def linear() -> Callable[[int, int], nn.Module]:
    """Return what makes the encoder's linear layers. Raises RunError where it is not there."""
    try:
        from transformer_engine import pytorch as engine  # noqa: PLC0415 - only some images
    except (ImportError, OSError) as error:
        raise RunError(
            f"training.precision is fp8, but TransformerEngine cannot be used here ({error}); use"
            " bf16, or an image that carries it."
        ) from error

    def make(wide: int, out: int) -> nn.Module:
        return engine.Linear(wide, out, device="cpu", params_dtype=torch.float32)  # type: ignore[no-any-return]

    return make


class InFp8:
    """A network whose encoder computes its products in fp8 while it trains."""

    def __init__(self, model: Bert) -> None:
        from transformer_engine import pytorch as engine  # noqa: PLC0415 - see `linear`
        from transformer_engine.common import recipe  # noqa: PLC0415

        self.model, self.autocast = model, engine.fp8_autocast
        self.recipe = recipe.DelayedScaling(
            fp8_format=recipe.Format.HYBRID,
            amax_history_len=1,
            amax_compute_algo="most_recent",
            reduce_amax=False,  # every rank scales its own activations: nothing to wait for
        )

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Compute both sets of logits."""
        with self.autocast(enabled=True, fp8_recipe=self.recipe):
            return self.model(batch)  # type: ignore[no-any-return]


def fits(rows: int, capacity: int, depth: int) -> bool:
    """Say whether the tokens that the heads read are as many as an fp8 product can take."""
    return rows * (capacity + depth) % MULTIPLE == 0
