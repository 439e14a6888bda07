"""English prose -> documents of sentences -> word pieces -> masked sentence pairs.

Small text only: the real corpus goes through the reference's own programs. The rules for pairs and
masks are those of the reference's `cleanup_scripts/create_pretraining_data.py:205-392`; its random
stream is not reproduced.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MASKED_SHARE = 0.15
LONGEST_ENDING = 5  # letters of a `##` piece

Document = list[list[int]]  # sentences of token ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One masked sentence pair: [CLS] A [SEP] B [SEP], as the reference's records hold it."""

    input_ids: Sequence[int]  # unpadded, masks applied
    second_segment: int  # index where B begins
    masked_positions: Sequence[int]  # ascending
    masked_ids: Sequence[int]  # what stood there
    random_next: bool  # label 1: B does not follow A


def sentences(text: str) -> list[str]:
    """Split running text into sentences; blank lines end one, line breaks do not."""
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        joined = " ".join(paragraph.split())
        found += re.split(r"(?<=[.!?:;])\s+(?=\S)", joined)
    return [sentence for sentence in found if re.search(r"\w", sentence)]


def words(sentence: str) -> list[str]:
    """Lower-case, and cut at blanks and around every mark that is not a letter or digit."""
    return re.findall(r"[a-z0-9]+|[^\sa-z0-9]", sentence.lower())


def vocabulary(texts: Iterable[str], size: int) -> list[str]:
    """Return exactly `size` word pieces: the special ones, all characters, endings, frequent words.

    Raises ValueError when the text has fewer different words than that.
    """
    counts = Counter(word for text in texts for word in words(text))
    characters = sorted({character for word in counts for character in word})
    pieces = [*SPECIAL, *characters, *(f"##{character}" for character in characters)]
    by_frequency = sorted(counts, key=lambda word: (-counts[word], word))
    pieces += _endings(by_frequency[size // 2 :], counts, size // 8)
    pieces += [word for word in by_frequency if word not in set(pieces)]
    if len(pieces) < size:
        raise ValueError(f"the text has {len(pieces)} word pieces, fewer than {size}")
    return pieces[:size]


def _endings(rare: Sequence[str], counts: Counter[str], number: int) -> list[str]:
    endings: Counter[str] = Counter()
    for word in rare:
        for length in range(2, min(LONGEST_ENDING, len(word) - 1) + 1):
            endings[word[-length:]] += counts[word] * length
    return [f"##{ending}" for ending in sorted(endings, key=lambda e: (-endings[e], e))[:number]]


class WordPieces:
    """Greedy longest match first, as BERT's tokenizer does it."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self._ids = {piece: number for number, piece in enumerate(pieces)}
        self._known: dict[str, list[int]] = {}

    def __call__(self, sentence: str) -> list[int]:
        """Return the token ids of a sentence."""
        return [number for word in words(sentence) for number in self._word(word)]

    def _word(self, word: str) -> list[int]:
        if word not in self._known:
            self._known[word] = self._cut(word)
        return self._known[word]

    def _cut(self, word: str) -> list[int]:
        numbers: list[int] = []
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if prefix + word[start:end] in self._ids), None)
            if end is None:
                return [self._ids["[UNK]"]]
            numbers.append(self._ids[prefix + word[start:end]])
            start = end
        return numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The sizes that masking and pairing depend on."""

    sequence_length: int
    max_predictions: int
    vocabulary_size: int
    duplicates: int  # static masking: each document is masked anew so many times
    short_share: float = 0.1  # of documents get a random shorter target length


def instances(documents: Sequence[Document], rules: Rules, seed: int) -> list[Instance]:
    """Return masked sentence pairs in random order; the same seed gives the same ones."""
    generator = random.Random(seed)  # noqa: S311 - reproducible, nothing secret
    made = [
        instance
        for _ in range(rules.duplicates)
        for index in range(len(documents))
        for instance in _pairs(documents, index, rules, generator)
    ]
    generator.shuffle(made)
    return made


def _pairs(
    documents: Sequence[Document], index: int, rules: Rules, generator: random.Random
) -> Iterator[Instance]:
    limit = rules.sequence_length - len(("[CLS]", "[SEP]", "[SEP]"))
    target = generator.randint(2, limit) if generator.random() < rules.short_share else limit
    document, start = documents[index], 0
    while start < len(document):
        end = _chunk_end(document, start, target)
        split = generator.randint(1, max(1, end - start - 1))
        first = _joined(document[start : start + split])
        random_next = end - start == 1 or generator.random() < 0.5  # noqa: PLR2004 - a coin
        if random_next:
            second = _elsewhere(documents, index, target - len(first), generator)
            start += split  # what was not used is not wasted
        else:
            second = _joined(document[start + split : end])
            start = end
        _truncate(first, second, limit, generator)
        yield _masked(first, second, random_next=random_next, rules=rules, generator=generator)


def _chunk_end(document: Document, start: int, target: int) -> int:
    length = 0
    for end in range(start, len(document)):
        length += len(document[end])
        if length >= target:
            return end + 1
    return len(document)


def _joined(parts: Document) -> list[int]:
    return [token for sentence in parts for token in sentence]


def _elsewhere(
    documents: Sequence[Document], index: int, length: int, generator: random.Random
) -> list[int]:
    other = index
    for _ in range(10):
        other = generator.randrange(len(documents))
        if other != index:
            break
    document = documents[other]
    found: list[int] = []
    for sentence in document[generator.randrange(len(document)) :]:
        found += sentence
        if len(found) >= length:
            break
    return found


def _truncate(first: list[int], second: list[int], limit: int, generator: random.Random) -> None:
    while len(first) + len(second) > limit:
        longer = first if len(first) > len(second) else second
        del longer[0 if generator.random() < 0.5 else -1]  # noqa: PLR2004 - a coin


def _masked(
    first: list[int],
    second: list[int],
    *,
    random_next: bool,
    rules: Rules,
    generator: random.Random,
) -> Instance:
    classify, separate, mask = (SPECIAL.index(piece) for piece in ("[CLS]", "[SEP]", "[MASK]"))
    tokens = [classify, *first, separate, *second, separate]
    candidates = [*range(1, len(first) + 1), *range(len(first) + 2, len(tokens) - 1)]
    number = min(rules.max_predictions, max(1, round(len(tokens) * MASKED_SHARE)), len(candidates))
    positions = sorted(generator.sample(candidates, number))
    labels = [tokens[position] for position in positions]
    for position in positions:  # 80 % mask, 10 % kept, 10 % any word
        draw = generator.random()
        if draw < 0.8:  # noqa: PLR2004
            tokens[position] = mask
        elif draw >= 0.9:  # noqa: PLR2004
            tokens[position] = generator.randrange(rules.vocabulary_size)
    return Instance(
        input_ids=tokens,
        second_segment=len(first) + 2,
        masked_positions=positions,
        masked_ids=labels,
        random_next=random_next,
    )
