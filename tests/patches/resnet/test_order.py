import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_classification.pytorch import order


def share(rank=0, world_size=1, *, micro_batch=8, samples=53, seed=7):
    return order.Share(
        seed=seed, samples=samples, micro_batch=micro_batch, rank=rank, world_size=world_size
    )


def test_every_epoch_is_a_permutation_and_batches_straddle_epochs():
    stream = np.concatenate([share().numbers(step) for step in range(20)])
    for epoch in range(3):
        assert sorted(stream[epoch * 53 : (epoch + 1) * 53]) == list(range(53))
    assert not np.array_equal(stream[:53], stream[53:106])


def test_two_ranks_see_together_what_one_rank_sees_in_two_micro_steps():
    for step in range(10):
        together = [share(rank, 2).numbers(step) for rank in range(2)]
        alone = [share().numbers(2 * step + half) for half in range(2)]
        assert np.array_equal(together, alone)
        draws = [share(rank, 2).draws(step).height for rank in range(2)]
        assert np.array_equal(draws, [share().draws(2 * step + half).height for half in range(2)])


def test_another_seed_gives_another_order_and_other_crops():
    assert not np.array_equal(share().numbers(0), share(seed=8).numbers(0))
    assert not np.array_equal(share().draws(0).flip, share(seed=8).draws(0).flip)


def test_seeds_may_have_63_bits():
    assert share(seed=2**63 - 1).numbers(0).shape == (8,)


@given(samples=st.integers(1, 200), batch=st.integers(1, 30), world_size=st.integers(1, 9))
@settings(max_examples=80, deadline=None)
def test_evaluation_counts_every_image_exactly_once(samples, batch, world_size):
    ranks = [order.evaluation(samples, batch, rank, world_size) for rank in range(world_size)]
    assert len({len(batches) for batches in ranks}) == 1
    assert all(len(numbers) == batch for batches in ranks for numbers in batches)
    counted = np.concatenate([numbers for batches in ranks for numbers in batches])
    assert sorted(counted[counted >= 0]) == list(range(samples))


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 8])
def test_evaluation_of_the_real_set_never_has_a_batch_of_filling_only(world_size):
    for rank in range(world_size):
        batches = order.evaluation(50_000, 400, rank, world_size)
        assert (batches[-1] >= 0).any()
