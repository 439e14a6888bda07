"""Run times to how far an olympic mean, or a score, may be off by chance.

95 % intervals of a trimmed mean by Tukey and McLaughlin: Winsorized deviation, Student's t with
h - 1 degrees of freedom, h runs kept. It says nothing of differences between systems that are not
chance.
"""

import math
import statistics
from collections.abc import Sequence

from launcher.core.score import Score
from launcher.core.units import Minutes

# 97.5 % points of Student's t for 1 to 28 degrees of freedom: up to 31 runs.
_T = (
    *(12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281),
    *(2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860),
    *(2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484),
)
_SMALLEST = 4  # runs: two kept ones have a deviation


def half_width(minutes: Sequence[float]) -> Minutes | None:
    """Return half the 95 % interval of the olympic mean of these runs; None for too few.

    A run that did not converge is infinite; there may be one.
    """
    count = len(minutes)
    if count < _SMALLEST or count - 3 > len(_T):
        return None
    order = sorted(minutes)
    pulled = [order[1], *order[1:-1], order[-2]]
    if not math.isfinite(pulled[-1]):
        return None
    share = 1 - 2 / count
    error = statistics.stdev(pulled) / (share * math.sqrt(count))
    return Minutes(_T[count - 4] * error)


def of_score(score: Score, resnet: float, bert: float) -> float:
    """Return half the 95 % interval of a score from those of its two means, in minutes."""
    return math.hypot(
        score.resnet_part / score.resnet * resnet, score.bert_part / score.bert * bert
    )
