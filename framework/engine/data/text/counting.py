"""What a worker counts in a batch of lines, for the statistics."""

from __future__ import annotations

import hashlib
import heapq
import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.text import minhash
from engine.data.text.characters import control, invisible
from engine.data.text.spill import Rows, mix, runs
from engine.data.text.table import TextBatch
from engine.data.text.words import (
    ACCENTED,
    BEYOND_RUSSIAN,
    CYRILLIC,
    DIGIT,
    LATIN,
    LETTERS,
    OTHER,
    Vocabulary,
    Words,
    words_of,
)

SAMPLES = 60

PLACE_BITS = 20
"""A place is the start of a line in the file, shifted, and a number within the line below it. A
line has at most 2^20 bytes, so that many queries and words at most."""

KEY = np.dtype([("hash", "u8")])
COUNTED = np.dtype([("hash", "u8"), ("first", "u8"), ("place", "u8"), ("count", "u8")])
"""Something counted: its hash, the number of its first occurrence, the place of that, the count."""

SCRIPTS = ("Cyrillic", "Latin", "other", "mixed", "digits", "none")
"""What the letters of a text or word are; ``digits``: it has digits only; ``none``: neither."""


@dataclass
class Counts:
    """Numbers that simply add up.

    Attributes:
        images, queries, words: how many.
        scripts, word_scripts: of queries and of words, by ``SCRIPTS``.
        marks: queries with this or that remarkable thing.
        words_per_query, letters_per_query, queries_per_image: how many have each number.
    """

    images: int = 0
    queries: int = 0
    words: int = 0
    scripts: Counter[str] = field(default_factory=Counter)
    word_scripts: Counter[str] = field(default_factory=Counter)
    marks: Counter[str] = field(default_factory=Counter)
    words_per_query: Counter[int] = field(default_factory=Counter)
    letters_per_query: Counter[int] = field(default_factory=Counter)
    queries_per_image: Counter[int] = field(default_factory=Counter)

    def add(self, other: Counts) -> None:
        """Add what another batch has."""
        for name, value in vars(other).items():
            if isinstance(value, Counter):
                getattr(self, name).update(value)
            else:
                setattr(self, name, getattr(self, name) + value)


MARKS = {
    "beyond_russian": "Cyrillic letters that Russian does not have (і, ї, є, ґ, ў, ә, ...)",
    "accented": "Latin letters beyond a to z",
    "mixed_word": "a word of both Cyrillic and Latin letters",
    "digit": "digits",
    "link": "a link",
    "hash_sign": "a hash sign",
    "invisible": "invisible or control characters",
    "upper": "capital letters",
}
"""What ``Counts.marks`` counts."""


@dataclass
class Counted:
    """One batch: numbers, and rows that go to disk. ``first`` counts from the batch's beginning."""

    counts: Counts
    words: Rows
    ngrams: Rows
    texts: Rows
    written: Rows
    bands: Rows
    samples: list[tuple[int, str]]


class Counting:
    """In a worker: called with batches of lines.

    Args:
        size: words of an n-gram.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._vocabulary = Vocabulary()
        self._seen = np.zeros(1 << 18, np.uint64)  # hashes of texts met before, as many as fit
        self._unseen = re.compile(f"[{invisible()}{control()}]")
        self._link = re.compile(r"(?i)https?://|www\.")

    def __call__(self, batch: TextBatch) -> Counted:
        """Count one batch of the table."""
        queries: list[str] = []
        places: list[int] = []
        sizes: list[int] = []
        for start, record in batch.records():
            base = start << PLACE_BITS
            places += range(base, base + len(record.queries))
            queries += record.queries
            sizes.append(len(record.queries))
        split = [words_of(query) for query in queries]
        lengths = np.fromiter(map(len, split), np.int64, len(split))
        words = self._vocabulary.look_up(list(chain.from_iterable(split)))
        place = np.array(places, np.uint64)
        counts = Counts(len(sizes), len(queries), int(lengths.sum()))
        counts.queries_per_image.update(sizes)
        self._describe(counts, queries, lengths, words)
        hashes = _text_hashes(words.hashes, lengths)
        return Counted(
            counts,
            words=self._words(words.hashes, lengths, place, 1),
            ngrams=self._words(words.hashes, lengths, place, self._size),
            texts=_counted(hashes, np.flatnonzero(lengths).astype(np.uint64), place[lengths > 0]),
            written=_written(queries),
            bands=self._bands(split, lengths, hashes),
            samples=_samples(queries, place),
        )

    def _describe(
        self, counts: Counts, queries: list[str], lengths: NDArray[np.int64], words: Words
    ) -> None:
        masks = np.zeros(len(lengths), np.uint8)
        letters = np.zeros(len(lengths), np.int64)
        some = lengths > 0
        if some.any():
            starts = _starts(lengths[some])
            masks[some] = np.bitwise_or.reduceat(words.masks, starts)
            letters[some] = np.add.reduceat(words.letters, starts)
            both = (words.masks & CYRILLIC > 0) & (words.masks & LATIN > 0)
            counts.marks["mixed_word"] = int(np.logical_or.reduceat(both, starts).sum())
        counts.words_per_query = _histogram(lengths)
        counts.letters_per_query = _histogram(letters)
        counts.scripts = _scripts(masks)
        counts.word_scripts = _scripts(words.masks)
        for name, bit in (
            ("beyond_russian", BEYOND_RUSSIAN), ("accented", ACCENTED), ("digit", DIGIT)
        ):  # fmt: skip
            counts.marks[name] = int((masks & bit > 0).sum())
        counts.marks["link"] = sum(1 for query in queries if self._link.search(query))
        counts.marks["hash_sign"] = sum("#" in query for query in queries)
        counts.marks["invisible"] = sum(
            1 for query in queries if not query.isprintable() and self._unseen.search(query)
        )
        counts.marks["upper"] = sum(query.lower() != query for query in queries)

    def _words(
        self, hashes: NDArray[np.uint64], lengths: NDArray[np.int64],
        place: NDArray[np.uint64], size: int,
    ) -> Rows:  # fmt: skip
        """The runs of ``size`` words within one query, counted."""
        query = np.repeat(np.arange(len(lengths)), lengths)
        at = np.arange(len(hashes) - size + 1) if len(hashes) >= size else np.arange(0)
        at = at[query[at] == query[at + size - 1]]
        found = hashes[at]
        for i in range(1, size):
            found = mix(found) + hashes[at + i]
        # Words are numbered within their line: its queries' words one after another.
        line = place >> np.uint64(PLACE_BITS)
        begins = _starts(lengths)
        first_query = runs(line)
        of_line = np.repeat(begins[first_query], np.diff(np.append(first_query, len(line))))
        number = at - of_line[query[at]]
        where = (line[query[at]] << np.uint64(PLACE_BITS)) | number.astype(np.uint64)
        return _counted(found, at.astype(np.uint64), where)

    def _bands(
        self, split: list[list[str]], lengths: NDArray[np.int64], hashes: NDArray[np.uint64]
    ) -> Rows:
        """Bands of the texts that this worker has not surely met before."""
        numbers = np.flatnonzero(lengths)
        _, first = np.unique(hashes, return_index=True)
        first.sort()
        slot = (hashes[first] & np.uint64(len(self._seen) - 1)).astype(np.int64)
        new = self._seen[slot] != hashes[first]
        self._seen[slot] = hashes[first]
        numbers = numbers[first[new]]
        return minhash.bands([split[i] for i in numbers], numbers.astype(np.uint64))


def _starts(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.cumsum(lengths) - lengths


def _histogram(values: NDArray[np.int64]) -> Counter[int]:
    found, counts = np.unique(values, return_counts=True)
    return Counter(dict(zip(found.tolist(), counts.tolist(), strict=True)))


def _scripts(masks: NDArray[np.uint8]) -> Counter[str]:
    found: Counter[str] = Counter()
    for mask, count in enumerate(np.bincount(masks).tolist()):
        if count:
            found[script_of(mask)] += count
    return found


def script_of(mask: int) -> str:
    """Which of ``SCRIPTS`` a mask of characters is."""
    letters = mask & LETTERS
    alone = {CYRILLIC: "Cyrillic", LATIN: "Latin", OTHER: "other"}
    if letters:
        return alone.get(letters, "mixed")
    return "digits" if mask & DIGIT else "none"


def _text_hashes(hashes: NDArray[np.uint64], lengths: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A hash of the words of each text that has any, in their order."""
    some = lengths[lengths > 0]
    if not len(some):
        return np.empty(0, np.uint64)
    starts = _starts(some)
    number = (np.arange(len(hashes)) - np.repeat(starts, some)).astype(np.uint64)
    return mix(np.add.reduceat(mix(hashes + mix(number)), starts))


def _counted(
    hashes: NDArray[np.uint64], first: NDArray[np.uint64], place: NDArray[np.uint64]
) -> Rows:
    """Rows of ``COUNTED``, one a hash."""
    found, index, counts = np.unique(hashes, return_index=True, return_counts=True)
    rows = np.empty(len(found), COUNTED)
    rows["hash"], rows["count"] = found, counts
    rows["first"], rows["place"] = first[index], place[index]
    return rows


def _written(queries: list[str]) -> Rows:
    """Hashes of the distinct queries as they were written, but for white space at the ends."""
    digests = {hashlib.blake2b(q.strip().encode(), digest_size=8).digest() for q in queries}
    return np.sort(np.frombuffer(b"".join(digests), np.uint64)).view(KEY)


def _samples(queries: list[str], place: NDArray[np.uint64]) -> list[tuple[int, str]]:
    """Queries that chance chose by their places: the same in every run."""
    keys: NDArray[Any] = mix(mix(place))
    chosen = heapq.nsmallest(SAMPLES, range(len(queries)), key=keys.__getitem__)
    return [(int(keys[i]), queries[i]) for i in chosen]
