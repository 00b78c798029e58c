"""The most frequent n-grams: exact against a plain count, and bounded."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.clusters.ngrams import LONGEST, most_frequent, ngrams_of
from engine.errors import DataError

WORDS = st.sampled_from(["а", "б", "в", "г", "Д", "ё"])
CORPUS = st.lists(st.lists(WORDS, max_size=7).map(" ".join), max_size=60)


def plainly(texts: list[str], words: int) -> Counter[str]:
    """The same by the definition."""
    found: Counter[str] = Counter()
    for text in texts:
        parts = text.lower().split()
        if 0 < len(parts) < words:
            found[" ".join(parts)] += 1
        found.update(" ".join(parts[i : i + words]) for i in range(len(parts) - words + 1) if parts)
    return found


@pytest.mark.parametrize(
    ("text", "grams"),
    [
        ("", []),
        (" \t\n", []),
        ("Круг", ["круг"]),
        ("красный  круг", ["красный круг"]),
        ("красный круг слева", ["красный круг слева"]),
        ("А Б В Г", ["а б в", "б в г"]),
        ("и\u0306", ["й"]),  # composed, so that both ways to write it are one
        ("x" * (LONGEST + 1), []),
    ],
)
def test_of_a_text(text: str, grams: list[str]) -> None:
    assert list(ngrams_of(text, 3)) == grams


@given(CORPUS.filter(lambda texts: any(text.strip() for text in texts)), st.integers(1, 4),
       st.integers(1, 30))  # fmt: skip
def test_counts_are_those_of_a_plain_count(texts: list[str], words: int, maximum: int) -> None:
    expected = sorted(plainly(texts, words).items(), key=lambda item: (-item[1], item[0]))
    found = most_frequent(lambda: texts, words, maximum)
    assert list(zip(found.texts, found.counts, strict=True)) == expected[:maximum]
    assert (found.read, found.distinct, found.missed) == (len(texts), len(expected), 0)


@given(CORPUS.filter(lambda texts: any(text.strip() for text in texts)), st.integers(1, 3),
       st.integers(1, 8), st.integers(2, 12))  # fmt: skip
def test_with_little_memory(texts: list[str], words: int, maximum: int, capacity: int) -> None:
    """Counts stay exact, and whatever is missing occurs `missed` times at most."""
    expected = plainly(texts, words)
    found = most_frequent(lambda: texts, words, maximum, capacity=capacity)
    assert {gram: expected[gram] for gram in found.texts} == dict(
        zip(found.texts, found.counts, strict=True)
    )
    order = sorted(expected.items(), key=lambda item: (-item[1], item[0]))
    if found.missed == 0:
        assert list(found.texts) == [gram for gram, _ in order[:maximum]]
    smallest = found.counts[-1] if len(found.texts) == maximum else 0
    for gram in expected.keys() - set(found.texts):
        assert expected[gram] <= max(smallest, found.missed)
    assert found.distinct <= len(expected)


def test_memory_is_bounded_on_a_stream_of_all_different_texts() -> None:
    """Every table that is kept stays near the capacity, and the frequent ones are found."""
    texts = [f"редкий {i}" if i % 5 else f"частый {i % 3}" for i in range(5000)]
    found = most_frequent(lambda: texts, 3, 3, capacity=100)
    assert set(found.texts) == {"частый 0", "частый 1", "частый 2"}
    assert sum(found.counts) == 1000
    assert found.missed == 0
    assert 100 < found.distinct <= 110


@pytest.mark.parametrize("texts", [[], ["", "  "], ["x" * 1000]])
def test_no_words_at_all(texts: list[str]) -> None:
    with pytest.raises(DataError, match="no n-grams"):
        most_frequent(lambda: texts, 3, 10)
