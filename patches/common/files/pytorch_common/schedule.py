"""Step counts to learning rates, the parts both benchmarks share. Plain floats, no tensors."""


def polynomial(*, step: float, steps: float, start: float, end: float, power: float) -> float:
    """Return the rate after `step` of `steps`: from start to end, then end for ever."""
    remaining = 1.0 - min(max(step, 0), steps) / steps
    return (start - end) * remaining**power + end
