"""A global batch size to its place on the Reference Convergence Points.

For advice before a run only. Whether a finished set passes, and its factor, is mlperf-logging's to
say (launcher.official). The points are its 4.0.0 set after pruning; a test compares them.
"""

import enum
import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from launcher.core.benchmark import Benchmark


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One reference: who converges faster on average is scaled back, or refused."""

    batch: int
    mean: float  # epochs or samples
    fastest: float  # smallest mean that is accepted


def _points(*rows: tuple[int, float, float]) -> tuple[Point, ...]:
    return tuple(Point(batch=batch, mean=mean, fastest=fastest) for batch, mean, fastest in rows)


# RCP_Checker("training", "4.0.0", benchmark).pruned_rcp_data of mlperf-logging 4.1.68.
POINTS: Mapping[Benchmark, tuple[Point, ...]] = {
    Benchmark.RESNET: _points(
        (1632, 35.0, 33.802342),
        (3264, 35.153846, 34.309645),
        (32768, 56.0, 55.444981),
        (49152, 68.0, 67.215090),
        (67840, 85.846154, 85.182644),
    ),
    Benchmark.BERT: _points(
        (448, 2414421.333333, 2274732.029038),
        (4608, 2798080.0, 2702871.338627),
        (6144, 3319125.333333, 3212483.063982),
        (6912, 3601920.0, 3513378.466756),
        (12288, 4465066.666667, 4400681.925887),
        (13056, 4645333.333333, 4515190.407417),
        (16384, 5505422.222222, 5400269.128703),
    ),
}


class Position(enum.Enum):
    """Where a batch size lies. The value is how a reader is told."""

    EXACT = "a reference point"
    INTERPOLATED = "between two reference points"
    BELOW = "below the smallest reference point, which it is judged by"
    ABOVE = "above the largest reference point: a new reference would have to be submitted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What a batch size is measured against."""

    position: Position
    mean: float | None  # epochs or samples; None above the largest point


def reference(benchmark: Benchmark, batch: int) -> Reference:
    """Return the convergence that the checker will compare with, interpolated as it does."""
    points = POINTS[benchmark]
    if batch < points[0].batch:
        return Reference(position=Position.BELOW, mean=points[0].mean)
    for low, high in itertools.pairwise(points):
        if batch in (low.batch, high.batch):
            mean = low.mean if batch == low.batch else high.mean
            return Reference(position=Position.EXACT, mean=mean)
        if batch < high.batch:
            share = (batch - low.batch) / (high.batch - low.batch)
            mean = low.mean + share * (high.mean - low.mean)
            return Reference(position=Position.INTERPOLATED, mean=mean)
    return Reference(position=Position.ABOVE, mean=None)
