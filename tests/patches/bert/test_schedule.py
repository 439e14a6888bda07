import pytest
from bert.config import evaluation_interval
from bert.schedule import evaluation_steps, learning_rate

from tests.patches.bert import small


def values(**changes):
    return small.config(hyperparameters=changes).hyperparameters


def test_the_rate_decays_from_the_first_step():
    ours = values(opt_base_learning_rate=1.0, opt_learning_rate_training_steps=100)
    assert [learning_rate(step, ours) for step in (0, 25, 100, 130)] == [1.0, 0.75, 0.0, 0.0]


def test_the_rate_falls_at_once_when_warm_up_ends():
    # facts of optimization.py:45-72: T 600, W 287, S -76
    ours = values(
        opt_base_learning_rate=1.0,
        opt_learning_rate_training_steps=600,
        num_warmup_steps=287,
        start_warmup_step=-76,
    )
    assert learning_rate(0, ours) == pytest.approx(76 / 287)
    assert learning_rate(210, ours) == pytest.approx(286 / 287)
    assert learning_rate(211, ours) == pytest.approx(1 - 211 / 600)


def test_warm_up_from_zero_makes_the_first_rate_zero():
    assert learning_rate(0, values(num_warmup_steps=5)) == 0.0


@pytest.mark.parametrize(
    ("batch", "interval"),
    [(256, 150_000), (768, 150_000), (2048, 150_000), (3072, 175_000), (8192, 225_000)],
)
def test_evaluations_are_as_far_apart_as_the_rules_table_says(batch, interval):
    assert evaluation_interval(batch) == interval


def test_evaluation_comes_as_soon_as_the_samples_are_reached_and_at_the_end():
    steps = evaluation_steps(every_samples=150_000, global_batch_size=768, training_steps=3680)
    assert steps[:3] == [196, 391, 586]
    assert steps[-1] == 3680
