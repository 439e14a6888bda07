import numpy as np
import pytest
from bert.packing import (
    ROW,
    SEQUENCE,
    RowError,
    RowStore,
    check_rows,
    masked_capacity,
    pack,
    plan_rows,
    row_dtype,
    sizes,
    unpack,
    write_rows,
)
from hypothesis import given, settings
from hypothesis import strategies as st

# Shares of sequences by length in the MLPerf Wikipedia set, from 5, 65, 129 ... tokens on.
EDGES = (5, 65, 129, 193, 257, 321, 385, 449, 512, 513)
SHARES = (0.176, 0.194, 0.114, 0.083, 0.065, 0.053, 0.044, 0.038, 0.233)


def wikipedia_lengths(n, seed=0):
    rng = np.random.default_rng(seed)
    bins = rng.choice(len(SHARES), size=n, p=SHARES)
    return rng.integers(np.array(EDGES)[bins], np.array(EDGES)[bins + 1])


def random_sequences(lengths, *, row_length=512, seed=0, vocab=30522):
    rng = np.random.default_rng(seed)
    out = np.zeros(len(lengths), dtype=row_dtype(row_length, 1))
    for record, length in zip(out, lengths, strict=True):
        masked = min(76, max(1, round(0.15 * int(length))))
        record["tokens"][:length] = rng.integers(1, vocab, size=length)
        record["lengths"] = length
        record["first_segments"] = rng.integers(1, length)
        record["next_is_random"] = rng.integers(2)
        record["masked"] = masked
        record["masked_positions"][:masked] = np.sort(rng.permutation(length)[:masked])
        record["masked_ids"][:masked] = rng.integers(1, vocab, size=masked)
    return out


def sorted_bytes(records):
    return sorted(record.tobytes() for record in records)


@pytest.mark.parametrize("n", [10_000, 100_000])
def test_less_than_one_percent_of_packed_wikipedia_rows_is_padding(n):
    lengths = wikipedia_lengths(n)
    plan = plan_rows(lengths)
    padding = 1 - lengths.sum() / (512 * len(plan))
    assert padding < 0.01
    assert n / len(plan) > 1.99


def test_every_sequence_is_in_exactly_one_row():
    lengths = wikipedia_lengths(3000)
    plan = plan_rows(lengths)
    assert sorted(plan[plan >= 0]) == list(range(3000))
    assert np.where(plan >= 0, lengths[plan], 0).sum(1).max() <= 512


@pytest.mark.parametrize(("lengths", "rows"), [([512], 1), ([512] * 9, 9), ([256] * 8, 4), ([], 0)])
def test_sequences_that_fill_their_rows_exactly_leave_nothing_to_plan(lengths, rows):
    assert len(plan_rows(np.array(lengths, dtype=np.int64))) == rows


def test_packing_is_random_by_seed_and_repeatable():
    lengths = wikipedia_lengths(1000)
    assert (plan_rows(lengths, seed=1) == plan_rows(lengths, seed=1)).all()
    one, two = plan_rows(lengths, seed=1), plan_rows(lengths, seed=2)
    assert one.shape != two.shape or (one != two).any()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(5, 64), min_size=1, max_size=60), st.integers(1, 3))
def test_unpacking_packed_sequences_gives_the_same_sequences(lengths, depth):
    sequences = random_sequences(lengths, row_length=64, vocab=999)
    rows = pack(sequences, depth=depth, seed=3)
    check_rows(rows, vocab_size=999)
    assert sorted_bytes(unpack(rows)) == sorted_bytes(sequences)


def test_full_size_rows_round_trip():
    sequences = random_sequences(wikipedia_lengths(400))
    rows = pack(sequences)
    assert rows.dtype == ROW
    assert sequences.dtype == SEQUENCE
    check_rows(rows, vocab_size=30522)
    assert sorted_bytes(unpack(rows)) == sorted_bytes(sequences)


@pytest.mark.parametrize(("length", "depth"), [(512, 1), (512, 2), (512, 3), (64, 3), (128, 2)])
def test_masked_tokens_of_any_row_fit_its_capacity(length, depth):
    # All ways to share `length` between `depth` sequences of at least 5 tokens.
    most = np.array([max(1, round(0.15 * n)) if n >= 5 else -(10**6) for n in range(length + 1)])
    most[0] = 0
    best = most.copy()
    for _ in range(depth - 1):
        best = np.array([(best[: n + 1] + most[n::-1]).max() for n in range(length + 1)])
    assert best.max() <= masked_capacity(length, depth)


def test_a_store_reads_rows_across_shards_in_the_order_asked(tmp_path):
    rows = pack(random_sequences(wikipedia_lengths(60)))
    write_rows(tmp_path, shard=0, rows=rows[:10])
    write_rows(tmp_path, shard=1, rows=rows[10:])
    store = RowStore(tmp_path)
    wanted = [len(rows) - 1, 0, 10, 9]
    assert len(store) == len(rows)
    assert store.count_sequences() == 60
    assert store.take(wanted).tobytes() == rows[wanted].tobytes()


def test_a_sequence_longer_than_the_row_is_refused():
    with pytest.raises(RowError, match="513 tokens and a row holds 512"):
        plan_rows(np.array([5, 513]))


def test_a_folder_without_rows_is_refused(tmp_path):
    with pytest.raises(RowError, match=r"there is no rows-00000\.npy"):
        RowStore(tmp_path)


def test_a_shard_of_another_layout_is_refused_by_name(tmp_path):
    np.save(tmp_path / "rows-00000.npy", np.zeros(3))
    with pytest.raises(RowError, match="rows-00000"):
        RowStore(tmp_path)
    np.save(tmp_path / "rows-00000.npy", np.zeros(3, ROW))
    np.save(tmp_path / "rows-00001.npy", np.zeros(3, SEQUENCE))
    with pytest.raises(RowError, match="rows-00001"):
        RowStore(tmp_path)
    with pytest.raises(RowError, match="another layout"):
        sizes(np.dtype([(n, ROW[n]) if n != "masked" else (n, "u4", (3,)) for n in ROW.names]))


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("tokens", 30522, "another vocabulary"),
        ("masked_positions", 511, "outside its tokens"),
        ("next_is_random", 2, "next-sentence label"),
        ("lengths", 512, "more than 512 tokens"),
        ("masked", 0, "without masked tokens"),
        ("first_segments", 300, "first segment"),
    ],
)
def test_a_broken_record_is_named(field, value, fault):
    rows = pack(random_sequences([100, 120, 130] * 3))
    rows[field][1, 0] = value
    with pytest.raises(RowError, match=rf"record 1 has .*{fault}"):
        check_rows(rows, vocab_size=30522)
