from collections import Counter

import numpy as np
import pytest
from bert import synthetic
from bert.config import Form
from bert.data import Batches, Permutation, collate, training_rows
from bert.packing import RowStore, write_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from pytorch_common.failure import RunError
from tests.patches.bert import small


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 2**40))
def test_a_permutation_has_every_number_once(size, seed):
    order = Permutation(size, seed)(np.arange(size))
    assert sorted(order) == list(range(size))


def test_a_permutation_looks_random():
    size = 100_000
    order = Permutation(size, 1)(np.arange(size))
    other = Permutation(size, 2)(np.arange(size))
    assert abs(np.corrcoef(np.arange(size), order)[0, 1]) < 0.01
    assert abs(np.corrcoef(order, other)[0, 1]) < 0.01
    assert (np.diff(order) == 1).mean() < 0.001
    per_tenth = np.histogram(order[: size // 10], bins=10, range=(0, size))[0]
    assert per_tenth.min() > 900  # a tenth of the places draws a tenth from every tenth
    assert per_tenth.max() < 1100


def test_a_permutation_of_all_wikipedia_rows_needs_no_memory():
    order = Permutation(78_400_000, 3)(np.arange(384))
    assert len(set(order.tolist())) == 384
    assert order.max() < 78_400_000


@pytest.mark.parametrize(("rows", "ranks"), [(8, 1), (4, 2), (2, 4)])
def test_a_global_batch_does_not_depend_on_how_it_is_shared(rows, ranks):
    whole = training_rows(100, 5, rows=8, rank=0, ranks=1)
    shared = [training_rows(100, 5, rows=rows, rank=rank, ranks=ranks) for rank in range(ranks)]
    for _ in range(30):
        parts = np.concatenate([next(one) for one in shared])
        assert (parts == next(whole)).all()


def test_an_epoch_has_each_row_at_most_once_and_the_next_another_order():
    numbers = training_rows(100, 5, rows=8, rank=0, ranks=1)
    first = np.concatenate([next(numbers) for _ in range(12)])
    second = np.concatenate([next(numbers) for _ in range(12)])
    assert max(Counter(first.tolist()).values()) == 1
    assert len(first) == 96
    assert (first != second).any()


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(RunError, match="has 10 rows and one batch takes 16"):
        training_rows(10, 0, rows=8, rank=0, ranks=2)


def test_batches_come_in_order_with_their_sequences_counted(tmp_path):
    config = small.config()
    rows = synthetic.random_rows(config, count=12, seed=0)
    write_rows(tmp_path, shard=0, rows=rows)
    numbers = iter(np.arange(12).reshape(3, 4))
    batches = Batches(
        RowStore(tmp_path), numbers, form=Form.PACKED, vocab_size=101, device=small.CPU
    )
    for part in np.split(rows, 3):
        batch, sequences = next(batches)
        assert (batch.tokens.numpy().reshape(4, 32) == part["tokens"]).all()
        assert sequences == np.count_nonzero(part["lengths"]) == batch.sequence_weights.sum()


def test_positions_and_types_restart_in_every_sequence():
    config = small.config()
    rows = synthetic.random_rows(config, count=6, seed=1)
    batch = collate(rows)
    positions, types = (x.numpy().reshape(6, 32) for x in (batch.positions, batch.token_types))
    for row, mine, kinds in zip(rows, positions, types, strict=True):
        start = 0
        for length, first in zip(row["lengths"], row["first_segments"], strict=True):
            stop = start + int(length)
            assert (mine[start:stop] == np.arange(length)).all()
            assert (kinds[start:stop] == (np.arange(length) >= first)).all()
            start = stop


def test_synthetic_lengths_have_the_mean_of_the_published_ones():
    lengths = synthetic.lengths(200_000, 512, np.random.default_rng(0))
    assert lengths.mean() == pytest.approx(255, abs=3)
    assert (lengths == 512).mean() == pytest.approx(0.234, abs=0.01)
    assert lengths.min() >= 5
