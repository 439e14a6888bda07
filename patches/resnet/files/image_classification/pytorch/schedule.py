"""The learning rate of every step, as the reference's lars_util.py:53-159 computes it."""

from dataclasses import dataclass

from image_classification.pytorch.config import Config
from pytorch_common.schedule import polynomial


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Linear warm-up from 0, then polynomial decay, then the end rate for ever."""

    base: float
    end: float
    power: float
    warmup_steps: float  # W
    decay_steps: int  # D, counted after the warm-up

    def __call__(self, step: int) -> float:
        """Return the rate of a step counted from 0; with a warm-up, step 0 has rate 0.

        lars_util.py:143-159: base * s / W while s <= W, then
        (base - end) * (1 - min(s - W, D) / D)**power + end.
        """
        if step <= self.warmup_steps and self.warmup_steps > 0:
            return self.base * step / self.warmup_steps
        return polynomial(
            step=step - self.warmup_steps,
            steps=self.decay_steps,
            start=self.base,
            end=self.end,
            power=self.power,
        )


def of(config: Config) -> Schedule:
    """Return the schedule of a run; one step is one update, however many micro-batches it takes."""
    values = config.hyperparameters
    return Schedule(
        base=values.base_learning_rate,
        end=values.end_learning_rate,
        power=values.decay_power,
        warmup_steps=values.warmup_epochs * config.steps_per_epoch,
        decay_steps=values.decay_steps,
    )
