"""MinHash: as near to the true similarity as it says."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.text import minhash
from engine.data.text.words import words_of


def similar_pairs(count: int, seed: int) -> tuple[list[list[str]], list[float]]:
    """Texts 2 i and 2 i + 1 are alike; and how much."""
    random_ = random.Random(seed)
    letters = "абвгдежзиклмнопрстуфхцчшщэюя"
    texts, true = [], []
    for _ in range(count):
        words = ["".join(random_.choices(letters, k=random_.randint(2, 9))) for _ in range(12)]
        other = list(words)
        for _ in range(random_.randint(0, 4)):
            other[random_.randrange(12)] = "".join(random_.choices(letters, k=5))
        texts += [words, other]
        true.append(minhash.jaccard(minhash.shingles(words), minhash.shingles(other)))
    return texts, true


def test_estimates() -> None:
    texts, true = similar_pairs(1500, 0)
    rows = minhash.bands(texts, np.arange(len(texts), dtype=np.uint64))[: len(texts)]
    found = minhash.similarity(rows["sketch"][::2], rows["sketch"][1::2])
    errors = found - np.array(true)
    assert abs(errors.mean()) < 0.005
    assert errors.std() < 0.03
    near = np.array([0.75 < s < 0.85 for s in true])
    assert near.sum() > 50
    assert errors[near].std() < 0.03


@pytest.mark.parametrize("words", [150, 400, 2500])
def test_long_texts(words: int) -> None:
    random_ = random.Random(words)

    def word() -> str:
        return "".join(random_.choices("абвгдежзиклмнопрстуфхцчшщэюя", k=6))

    text = [word() for _ in range(words)]
    for share in (0.02, 0.1, 0.5):
        other = [word() if random_.random() < share else old for old in text]
        rows = minhash.bands([text, other], np.arange(2, dtype=np.uint64))
        true = minhash.jaccard(minhash.shingles(text), minhash.shingles(other))
        (found,) = minhash.similarity(rows["sketch"][:1], rows["sketch"][1:2])
        assert abs(found - true) < 0.15


def test_recall_of_the_bands() -> None:
    texts, true = similar_pairs(1500, 1)
    rows = minhash.bands(texts, np.arange(len(texts), dtype=np.uint64))
    rows = rows[np.lexsort((rows["text"], rows["hash"]))]
    met = {
        (int(a), int(b))
        for later, earlier in minhash.candidates(rows)
        for a, b in zip(later["text"], earlier["text"], strict=True)
    }
    alike = [i for i, s in enumerate(true) if s >= 0.8]
    assert len(alike) > 200
    assert sum((2 * i + 1, 2 * i) in met for i in alike) / len(alike) > 0.98
    assert len(met) < 2 * len(true)  # and next to nothing but these


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=8))
def test_a_text_alone_has_the_same_bands_as_among_others(texts: list[str]) -> None:
    split = [words for words in (words_of(t) for t in texts) if words]
    together = minhash.bands(split, np.arange(len(split), dtype=np.uint64))
    for i, words in enumerate(split):
        alone = minhash.bands([words], np.array([i], np.uint64))
        assert (together[together["text"] == i] == alone).all()


def test_same_texts_meet_in_every_band() -> None:
    rows = minhash.bands([["ё"], ["ё"]], np.array([0, 1], np.uint64)).reshape(minhash.BANDS, 2)
    assert (rows["hash"][:, 0] == rows["hash"][:, 1]).all()
    assert len(set(rows["hash"][:, 0].tolist())) == minhash.BANDS
    assert minhash.similarity(rows["sketch"][0, :1], rows["sketch"][0, 1:]).tolist() == [1.0]
