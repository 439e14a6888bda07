import pytest

from launcher.core import rcp
from launcher.core.benchmark import Benchmark
from launcher.core.plan import RULESET
from launcher.core.rcp import Position


@pytest.mark.parametrize("benchmark", Benchmark)
def test_the_points_are_those_of_mlperf_logging(benchmark):
    from mlperf_logging.rcp_checker.rcp_checker import RCP_Checker  # noqa: PLC0415 - slow to import

    pruned = RCP_Checker("training", RULESET, benchmark.value, verbose=False).pruned_rcp_data
    theirs = [(each["BS"], each["RCP Mean"], each["Min Epochs"]) for each in pruned.values()]
    ours = [(point.batch, point.mean, point.fastest) for point in rcp.POINTS[benchmark]]
    assert [batch for batch, *_ in ours] == [batch for batch, *_ in theirs]
    for own, their in zip(ours, theirs, strict=True):
        assert own == pytest.approx(their, rel=1e-7)


@pytest.mark.parametrize(
    ("benchmark", "batch", "position", "mean"),
    [
        (Benchmark.RESNET, 3264, Position.EXACT, 35.153846),
        (Benchmark.RESNET, 1632, Position.EXACT, 35.0),
        (Benchmark.RESNET, 67840, Position.EXACT, 85.846154),
        (Benchmark.RESNET, 3200, Position.INTERPOLATED, 35.1478130),
        (Benchmark.RESNET, 1600, Position.BELOW, 35.0),
        (Benchmark.RESNET, 70_000, Position.ABOVE, None),
        (Benchmark.BERT, 768, Position.INTERPOLATED, 2_443_933.5),
        (Benchmark.BERT, 176, Position.BELOW, 2_414_421.333),
    ],
)
def test_a_batch_size_has_its_place(benchmark, batch, position, mean):
    reference = rcp.reference(benchmark, batch)
    assert reference.position is position
    assert reference.mean == (None if mean is None else pytest.approx(mean, rel=1e-6))
