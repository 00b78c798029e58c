"""The most frequent n-grams of a stream of texts, in bounded memory.

Texts are read twice. The first pass keeps at most ``CAPACITY`` n-grams; where there are more, it
forgets the rarest, and knows how often a forgotten one can have occurred (lossy counting: Manku and
Motwani, 2002). The second pass counts what is left exactly. So counts are always exact, and the
choice is too, unless the last chosen n-gram is as rare as a forgotten one may be (``missed``).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from engine.contracts.unicode import bounded_normalise
from engine.core.progress import Progress, silent
from engine.errors import DataError

CAPACITY = 1_000_000
"""N-grams in memory at once: some 250 MB."""

LONGEST = 200
"""Characters of an n-gram; a longer one is not a phrase, and is passed over."""

_TELL_EVERY = 100_000

Texts = Callable[[], Iterable[str]]
"""Gives the texts again at every call, each time the same ones."""


@dataclass(frozen=True)
class NGrams:
    """The most frequent n-grams.

    Attributes:
        texts: the n-grams, the most frequent first; of equals, in the order of code points.
        counts: how often each occurs.
        read: texts that were read.
        distinct: different n-grams among them; where some were forgotten, at least so many.
        missed: an n-gram that is not listed may occur so often and still have been missed; 0 where
            the list is exact.
    """

    texts: tuple[str, ...]
    counts: tuple[int, ...]
    read: int
    distinct: int
    missed: int


def ngrams_of(text: str, words: int) -> Iterator[str]:
    """The n-grams of a text in lower case, white space folded; of a shorter text, all of it."""
    parts = bounded_normalise("NFC", text).lower().split()
    for start in range(max(1, len(parts) - words + 1) if parts else 0):
        gram = " ".join(parts[start : start + words])
        if len(gram) <= LONGEST:
            yield gram


def most_frequent(
    texts: Texts,
    words: int,
    maximum: int,
    progress: Progress = silent,
    *,
    capacity: int = CAPACITY,
) -> NGrams:
    """Count the n-grams of texts.

    Args:
        texts: gives the texts; called twice where there are more n-grams than ``capacity``.
        words: words of an n-gram.
        maximum: how many n-grams to give, at most.
        progress: receives lines of progress.
        capacity: n-grams in memory at once, at least 2.

    Raises:
        DataError: there is no n-gram at all.
    """
    table: dict[str, int] = {}
    floor = distinct = read = 0
    for text in texts():
        read += 1
        for gram in ngrams_of(text, words):
            # A new one may have been forgotten `floor` times: a value is never below the count.
            table[gram] = table.get(gram, floor) + 1
        if len(table) > capacity:
            distinct = max(distinct, len(table))
            table, floor = _rarest_forgotten(table, capacity // 2)
        if read % _TELL_EVERY == 0:
            progress("n-grams: texts read", read)
    distinct = max(distinct, len(table))
    if floor:
        progress("n-grams: counting exactly")
        table = _count_again(texts, words, table)
    if not table:
        raise DataError(
            f"no n-grams to cluster: {read:,} texts, none of them with a word",
            hint="data.train gives the texts",
        )
    chosen = heapq.nsmallest(maximum, table.items(), key=lambda item: (-item[1], item[0]))
    names, counts = zip(*chosen, strict=True)
    exact = len(chosen) == maximum and counts[-1] > floor
    return NGrams(names, counts, read, distinct, 0 if exact else floor)


def _rarest_forgotten(table: dict[str, int], keep: int) -> tuple[dict[str, int], int]:
    """The ``keep`` entries of the highest values (of equals, the older ones), and the cut.

    Nothing that was forgotten had a higher value than the cut.
    """
    values = np.fromiter(table.values(), np.int64, len(table))
    cut = int(np.partition(values, len(values) - keep)[len(values) - keep])
    room = keep - int((values > cut).sum())
    kept: dict[str, int] = {}
    for gram, value in table.items():
        if value < cut or (value == cut and room == 0):
            continue
        room -= value == cut
        kept[gram] = value
    return kept, cut


def _count_again(texts: Texts, words: int, kept: dict[str, int]) -> dict[str, int]:
    counts = dict.fromkeys(kept, 0)
    for text in texts():
        for gram in ngrams_of(text, words):
            if gram in counts:
                counts[gram] += 1
    return {gram: count for gram, count in counts.items() if count}
