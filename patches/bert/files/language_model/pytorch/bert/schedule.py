"""Step counts to learning rates and evaluation points. Plain numbers; nothing is stepped here."""

from bert.config import Hyperparameters

from pytorch_common.schedule import polynomial


def learning_rate(step: int, values: Hyperparameters) -> float:
    """Return the rate of the update after `step` updates; optimization.py:45-72.

    Decay counts from step 0, so the rate falls at once when warm-up ends. A negative
    start_warmup_step lifts the start of warm-up; without warm-up it means nothing.
    """
    warmup, start = values.num_warmup_steps, values.start_warmup_step
    if warmup > 0 and step - start < warmup:
        return values.opt_base_learning_rate * (step - start) / warmup
    return polynomial(
        step=step,
        steps=values.opt_learning_rate_training_steps,
        start=values.opt_base_learning_rate,
        end=0.0,
        power=values.opt_lamb_learning_rate_decay_poly_power,
    )


def evaluation_steps(
    *, every_samples: int, global_batch_size: int, training_steps: int
) -> list[int]:
    """Return after how many steps to evaluate: as soon as a multiple is reached, and at the end."""
    most = training_steps * global_batch_size
    reached = range(every_samples, most + 1, every_samples)
    return sorted({*(-(-samples // global_batch_size) for samples in reached), training_steps})
