"""Training a vocabulary on texts: counting words, choosing an alphabet, learning merges.

Every kind of tokenizer here (byte-level, CLIP's, WordPiece, SentencePiece, YouTokenToMe) is learned
by the same byte pair encoding (Sennrich et al., 2016, arXiv:1508.07909) over its own *units*: what
a word is split into at first, such as ``"##о"`` or ``"a</w>"``. The result depends on the counts of
the words alone: same texts, same vocabulary.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat

from tokenizers import Tokenizer, models, trainers

from engine.errors import ConfigError, DataError

Units = tuple[str, ...]
Merge = tuple[Units, Units]
"""Two neighbours that become one piece, each as the units it is made of."""


@dataclass(frozen=True)
class Words:
    """The words of the texts.

    Attributes:
        counts: how often each word came, split into units.
        texts: number of texts they came from.
    """

    counts: Mapping[Units, int]
    texts: int


def count_words(
    texts: Iterable[str], split: Callable[[str], Iterable[str]], units: Callable[[str], Units]
) -> Words:
    """Count words.

    Args:
        texts: the training texts, read once.
        split: a text's words.
        units: a word's units.

    Raises:
        DataError: there is no word in them.
    """
    words: Counter[str] = Counter()
    number = 0
    for text in texts:
        words.update(split(text))
        number += 1
    counts: Counter[Units] = Counter()
    for word, count in words.items():
        if word:
            counts[units(word)] += count
    if not counts:
        raise DataError(
            f"a vocabulary cannot be trained: {number} texts, and no word in them",
            hint="name a data set with queries under `data.train`",
        )
    return Words(counts, number)


def choose_alphabet(words: Words, maximum: int, always: Sequence[str] = ()) -> list[str]:
    """The ``maximum`` frequent units, those of ``always`` first, the others sorted."""
    frequency: Counter[str] = Counter()
    for units, count in words.counts.items():
        for unit in units:
            frequency[unit] += count
    others = sorted((u for u in frequency if u not in always), key=lambda u: (-frequency[u], u))
    return [*always, *sorted(others[: max(0, maximum - len(always))])]


def learn_merges(
    words: Words, alphabet: Collection[str], maximum: int, min_frequency: int
) -> list[Merge]:
    """The merges of byte pair encoding in order, at most ``maximum`` of them.

    The trainer of the library `tokenizers` numbers units in an order that changes from run to run
    where a prefix or suffix makes them. So each unit becomes one character here: the trainer then
    sees plain words over a sorted alphabet, and gives the same merges every time.
    """
    if maximum <= 0:
        return []
    known = sorted(alphabet)
    character = {unit: chr(0x10000 + i) for i, unit in enumerate(known)}
    unit_of = {char: unit for unit, char in character.items()}
    trainer = trainers.BpeTrainer(
        vocab_size=len(known) + maximum,
        min_frequency=min_frequency,
        initial_alphabet=list(unit_of),
        show_progress=False,
    )
    backend = Tokenizer(models.BPE())
    spelled = (
        (part, count)
        for units, count in words.counts.items()
        # A unit outside of the alphabet parts its word: nothing is ever joined across it.
        for part in "".join(character.get(unit, " ") for unit in units).split(" ")
        if part
    )
    backend.train_from_iterator(
        (part for part, count in spelled for part in repeat(part, count)), trainer
    )
    return [
        (tuple(unit_of[c] for c in left), tuple(unit_of[c] for c in right))
        for left, right in json.loads(backend.to_str())["model"]["merges"]
    ]


def check_room(kind: str, vocab_size: int, minimum: int) -> None:
    """Refuse a vocabulary too small for its marks and first units.

    Raises:
        ConfigError: ``vocab_size`` is below ``minimum``.
    """
    if vocab_size < minimum:
        raise ConfigError(
            f"vocab_size {vocab_size} is too small to train a `{kind}` vocabulary: it needs at"
            f" least {minimum}",
            hint="raise the text encoder's `vocab_size`",
        )


def number(tokens: Iterable[str]) -> dict[str, int]:
    """Ids from 0 in order; a token that comes again keeps its first id."""
    return {token: i for i, token in enumerate(dict.fromkeys(tokens))}
