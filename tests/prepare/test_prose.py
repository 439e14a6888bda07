"""Prose to masked sentence pairs, by the reference's rules."""

import itertools

import pytest

from launcher.prepare import prose

TEXT = "The cat sat. The dog, who barked loudly, ran!\n\nA third sentence\nwraps here. Done."


def test_sentences_end_at_marks_and_blank_lines_but_not_at_line_breaks():
    assert prose.sentences(TEXT + "\n\n*****\n") == [
        "The cat sat.",
        "The dog, who barked loudly, ran!",
        "A third sentence wraps here.",
        "Done.",
    ]


def test_the_vocabulary_has_the_asked_size_and_covers_every_word():
    pieces = prose.vocabulary([TEXT], 60)
    assert len(pieces) == len(set(pieces)) == 60
    assert pieces[:5] == list(prose.SPECIAL)
    ids = prose.WordPieces(pieces)(TEXT)
    assert prose.SPECIAL.index("[UNK]") not in ids


def test_a_text_too_small_for_the_vocabulary_is_refused():
    with pytest.raises(ValueError, match="fewer than 2048"):
        prose.vocabulary([TEXT], 2048)


def test_the_longest_piece_wins_and_an_unknown_character_makes_the_word_unknown():
    pieces = [*prose.SPECIAL, "a", "ab", "##c", "##cd"]
    cut = prose.WordPieces(pieces)
    assert cut("abcd ac") == [6, 8, 5, 7]
    assert cut("abx") == [1]


RULES = prose.Rules(sequence_length=64, max_predictions=10, vocabulary_size=500, duplicates=20)


def made():
    counter = itertools.count(5)
    documents = [
        [[next(counter) % 400 + 5 for _ in range(5 + (s * d) % 17)] for s in range(12)]
        for d in range(9)
    ]
    return prose.instances(documents, RULES, seed=3)


def test_pairs_keep_to_the_reference_rules():
    for instance in made():
        ids, second = instance.input_ids, instance.second_segment
        assert 5 <= len(ids) <= 64
        assert ids[0] == 2
        assert ids[second - 1] == ids[-1] == 3
        assert len(instance.masked_positions) == min(10, max(1, round(0.15 * len(ids))))
        assert list(instance.masked_positions) == sorted(set(instance.masked_positions))
        assert not {0, second - 1, len(ids) - 1} & set(instance.masked_positions)


def test_masks_are_eighty_ten_ten_and_half_the_pairs_are_random():
    instances = made()
    masked = [
        (instance.input_ids[position], label)
        for instance in instances
        for position, label in zip(instance.masked_positions, instance.masked_ids, strict=True)
    ]
    as_mask = sum(token == 4 for token, _ in masked) / len(masked)
    kept = sum(token == label for token, label in masked) / len(masked)
    assert as_mask == pytest.approx(0.8, abs=0.02)
    assert kept == pytest.approx(0.1, abs=0.02)
    share = sum(instance.random_next for instance in instances) / len(instances)
    assert 0.5 < share < 0.7  # a chunk of one sentence always gets a random partner


def test_the_same_seed_gives_the_same_pairs():
    assert made() == made()
