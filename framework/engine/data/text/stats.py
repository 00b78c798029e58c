"""Statistics of a table of queries of any size, in little memory.

One pass in several processes counts what adds up and writes hashes to disk; the hashes come back
part by part. Everything is exact but near duplicates (see ``minhash``) and the chance that two of n
different words, n-grams or texts share a hash of 64 bits (n^2 / 2^65: 1 in 15,000 for n = 50
million).
"""

from __future__ import annotations

import contextlib
import heapq
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.core.files import scratch
from engine.core.progress import Progress, silent
from engine.data.text import minhash
from engine.data.text.counting import (
    COUNTED,
    KEY,
    PLACE_BITS,
    SAMPLES,
    Counted,
    Counting,
    Counts,
)
from engine.data.text.parallel import ordered, workers_for
from engine.data.text.spill import PARTS, Rows, Spill, runs
from engine.data.text.table import (
    TextTable,
    find_table,
    open_table,
    read_records,
)
from engine.data.text.words import words_of

NGRAM = 3
TOP_NGRAMS = 20_000
TOP_WORDS = 200
TOP_TEXTS = 100
POINTS = 200
"""Points of the growth curve."""
PAIRS = 30
"""Near duplicates shown."""

TextCount = tuple[str, int]


@dataclass
class Stats:
    """What is known of a table.

    Attributes:
        table: the file, its bad lines.
        counts: numbers that add up.
        ngrams, words, texts: the most frequent, with their counts; of equal ones that which comes
            first in the file. Texts are given as their words.
        distinct_ngrams, distinct_words, distinct_texts, distinct_written: how many there are.
        ngram_total: n-grams in all.
        growth: points (words read, distinct words among them).
        near: distinct texts that have an earlier near duplicate.
        pairs: some of them, each with that earlier text.
        samples: queries that chance chose.
    """

    table: TextTable
    counts: Counts = field(default_factory=Counts)
    ngrams: list[TextCount] = field(default_factory=list)
    words: list[TextCount] = field(default_factory=list)
    texts: list[TextCount] = field(default_factory=list)
    distinct_ngrams: int = 0
    distinct_words: int = 0
    distinct_texts: int = 0
    distinct_written: int = 0
    ngram_total: int = 0
    growth: list[tuple[int, int]] = field(default_factory=list)
    near: int = 0
    pairs: list[tuple[str, str]] = field(default_factory=list)
    samples: list[str] = field(default_factory=list)


def measure(
    path: Path,
    *,
    workers: int | None = None,
    top: int = TOP_NGRAMS,
    progress: Progress = silent,
) -> Stats:
    """Measure a table of queries. The result does not depend on the number of workers.

    Args:
        path: the folder of the data, or the file of queries itself.
        workers: processes (default: what pays).
        top: how many n-grams to list.
        progress: shows how far it is.

    Raises:
        DataError: there is no table, or no good line in it.
        OSError: no room for temporary files (about 450 bytes a query).
    """
    path = find_table(path)
    workers = workers_for(path.stat().st_size, workers)
    with scratch(path) as folder, contextlib.ExitStack() as stack:
        table = open_table(path, folder, workers, progress)
        stats = Stats(table)
        kinds = {"words": COUNTED, "ngrams": COUNTED, "texts": COUNTED, "written": KEY,
                 "bands": minhash.BAND}  # fmt: skip
        spills = {name: Spill(folder / name, dtype) for name, dtype in kinds.items()}
        for spill in spills.values():
            stack.callback(spill.close)
        _count(stats, spills, workers, progress)
        progress("words")
        _words(stats, spills["words"])
        progress("n-grams")
        stats.ngrams, stats.distinct_ngrams, stats.ngram_total = _top(
            path, spills["ngrams"], top, NGRAM
        )
        progress("duplicates")
        stats.distinct_written = sum(len(runs(rows["hash"])) for rows in spills["written"].parts())
        _texts(stats, spills["texts"], spills["bands"], progress)
    return stats


def _count(stats: Stats, spills: dict[str, Spill], workers: int, progress: Progress) -> None:
    batches = stats.table.batches(progress, "counting")
    chosen: list[tuple[int, str]] = []
    for found in ordered(Counting, NGRAM, batches, workers):
        _number(found, stats.counts)
        stats.counts.add(found.counts)
        for name, spill in spills.items():
            spill.add(getattr(found, name))
        chosen = heapq.nsmallest(SAMPLES, chosen + found.samples)
    stats.samples = [query for _, query in chosen]


def _number(found: Counted, before: Counts) -> None:
    """From numbers within the batch to numbers within the table."""
    for rows in (found.words, found.ngrams):
        rows["first"] += np.uint64(before.words)
    found.texts["first"] += np.uint64(before.queries)
    found.bands["text"] += np.uint64(before.queries)


def _words(stats: Stats, spill: Spill) -> None:
    total = stats.counts.words
    points = np.unique(np.linspace(1, total, POINTS).astype(np.uint64)) if total else np.empty(0)
    new = np.zeros(len(points) + 1, np.int64)
    for rows in spill.parts():
        first = rows["first"][runs(rows["hash"])]
        new += np.bincount(np.searchsorted(points, first + np.uint64(1)), minlength=len(new))
    stats.growth = list(zip(points.astype(int).tolist(), np.cumsum(new)[:-1].tolist(), strict=True))
    stats.words, stats.distinct_words, _ = _top(stats.table.path, spill, TOP_WORDS, 1)


def _top(path: Path, spill: Spill, count: int, size: int) -> tuple[list[TextCount], int, int]:
    """The most frequent, the number of different ones, the number of all."""
    best, distinct, total = np.empty(0, COUNTED), 0, 0
    for rows in spill.parts():
        counted = _summed(rows)
        distinct += len(counted)
        total += int(counted["count"].sum())
        best = _best(np.concatenate([best, counted]), count)
    texts = _ngrams_at(path, best["place"], size)
    return list(zip(texts, best["count"].tolist(), strict=True)), distinct, total


def _summed(rows: Rows) -> Rows:
    """One row a hash: counts added, the first occurrence kept."""
    starts = runs(rows["hash"])
    found = rows[starts]
    found["count"] = np.add.reduceat(rows["count"], starts)
    return found


def _best(rows: Rows, count: int) -> Rows:
    """The ``count`` rows of the highest counts; of equal ones those that come first."""
    if len(rows) > 4 * count:  # a cheap cut before the sort
        minimum = np.partition(rows["count"], len(rows) - count)[len(rows) - count]
        rows = rows[rows["count"] >= minimum]
    order = np.lexsort((rows["first"], -rows["count"].astype(np.int64)))
    return rows[order[:count]]


def _ngrams_at(path: Path, places: NDArray[np.uint64], size: int) -> list[str]:
    """The n-grams at places in the file, each read again from its line."""
    order = np.argsort(places)
    starts = (places[order] >> np.uint64(PLACE_BITS)).tolist()
    numbers = (places[order] & np.uint64((1 << PLACE_BITS) - 1)).tolist()
    found = [""] * len(places)
    for i, number, record in zip(order, numbers, read_records(path, starts), strict=True):
        words = [word for query in record.queries for word in words_of(query)]
        found[i] = " ".join(words[number : number + size])
    return found


def _texts_at(path: Path, places: NDArray[np.uint64]) -> list[str]:
    """The texts (as words) at places in the file."""
    starts = (places >> np.uint64(PLACE_BITS)).tolist()
    numbers = (places & np.uint64((1 << PLACE_BITS) - 1)).tolist()
    records = read_records(path, starts)
    return [
        " ".join(words_of(record.queries[number]))
        for number, record in zip(numbers, records, strict=True)
    ]


def _texts(stats: Stats, texts: Spill, bands: Spill, progress: Progress) -> None:
    first = np.zeros(stats.counts.queries, bool)
    best = np.empty(0, COUNTED)
    for rows in texts.parts():
        counted = _summed(rows)
        first[counted["first"]] = True
        stats.distinct_texts += len(counted)
        best = _best(np.concatenate([best, counted]), TOP_TEXTS)
    names = _texts_at(stats.table.path, best["place"])
    stats.texts = list(zip(names, best["count"].tolist(), strict=True))
    near, pairs = near_duplicates(bands, first, progress)
    stats.near = int(near.sum())
    stats.pairs = _shown(stats.table.path, texts, pairs)


def near_duplicates(
    bands: Spill, among: NDArray[np.bool_], progress: Progress = silent
) -> tuple[NDArray[np.bool_], list[tuple[int, int]]]:
    """Which texts have an earlier near duplicate, by their sketches.

    Args:
        bands: rows of ``minhash.BAND``, texts added in ascending order.
        among: the texts that count.
        progress: shows how far it is.

    Returns:
        A flag a text; and some pairs (later, earlier), the same in every run.
    """
    near = np.zeros(len(among), bool)
    chosen: list[tuple[int, int, int]] = []
    for part, rows in enumerate(bands.parts()):
        progress("near duplicates", part, PARTS)
        rows = rows[among[rows["text"]]]
        for later, earlier in minhash.candidates(rows):
            alike = minhash.similarity(later["sketch"], earlier["sketch"]) >= minhash.THRESHOLD
            near[later["text"][alike]] = True
            chosen = _chosen(chosen, later[alike], earlier[alike])
    return near, [(late, early) for _, late, early in chosen]


def _chosen(
    before: list[tuple[int, int, int]], later: Rows, earlier: Rows
) -> list[tuple[int, int, int]]:
    """The pairs with the smallest hashes, one a later text."""
    if not len(later):
        return before
    keys = later["hash"]
    order = np.argpartition(keys, min(PAIRS, len(keys) - 1))[:PAIRS]
    new = [(int(keys[i]), int(later["text"][i]), int(earlier["text"][i])) for i in order]
    texts: dict[int, tuple[int, int, int]] = {}
    for pair in sorted(before + new):
        texts.setdefault(pair[1], pair)
    return heapq.nsmallest(PAIRS, texts.values())


def _shown(path: Path, texts: Spill, pairs: list[tuple[int, int]]) -> list[tuple[str, str]]:
    wanted = np.unique(np.array(pairs, np.uint64))
    found: dict[int, int] = {}
    for rows in texts.parts():
        rows = rows[np.isin(rows["first"], wanted)]
        found |= dict(zip(rows["first"].tolist(), rows["place"].tolist(), strict=True))
    places = np.array([[found[a], found[b]] for a, b in pairs], np.uint64).reshape(-1)
    names = _texts_at(path, places)
    return list(zip(names[::2], names[1::2], strict=True))
