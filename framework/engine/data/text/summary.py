"""Statistics as JSON, and the numbers that follow from them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from engine.data.text.counting import MARKS, SCRIPTS
from engine.data.text.minhash import THRESHOLD
from engine.data.text.stats import Stats

LONGEST = 300
"""Characters of a text that are shown."""


@dataclass(frozen=True)
class Spread:
    """A distribution in a few numbers."""

    minimum: int
    mean: float
    median: int
    p95: int
    maximum: int

    @classmethod
    def of(cls, histogram: Counter[int]) -> Spread:
        """Of a histogram that is not empty. A quantile is the smallest value that reaches it."""
        total = histogram.total()
        values = sorted(histogram)
        mean = sum(value * count for value, count in histogram.items()) / total

        def quantile(share: float) -> int:
            seen = 0
            for value in values:
                seen += histogram[value]
                if seen >= share * total:
                    return value
            return values[-1]

        return cls(values[0], mean, quantile(0.5), quantile(0.95), values[-1])


def heaps(growth: Sequence[tuple[int, int]]) -> tuple[float, float] | None:
    """K and beta of Heaps' law ``distinct = K * read ^ beta``: least squares in logarithms.

    The points are spread evenly over the words, so the law is fitted to most of the text and not to
    its first words. ``None`` for fewer than 1,000 words, which say nothing.
    """
    if not growth or growth[-1][0] < 1000:
        return None
    xs = [math.log(read) for read, _ in growth[1:]]
    ys = [math.log(distinct) for _, distinct in growth[1:]]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    beta = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / sum(
        (x - mean_x) ** 2 for x in xs
    )
    return math.exp(mean_y - beta * mean_x), beta


def shorten(text: str) -> str:
    """At most ``LONGEST`` characters."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def to_json(stats: Stats) -> dict[str, Any]:
    """Everything, in JSON types."""
    counts = stats.counts
    law = heaps(stats.growth)
    with_words = counts.queries - counts.words_per_query[0]
    return {
        "path": str(stats.table.path),
        "bytes": stats.table.size,
        "images": counts.images,
        "queries": counts.queries,
        "words": counts.words,
        "bad_lines": stats.table.bad_json(),
        "words_per_query": _spread(counts.words_per_query),
        "letters_per_query": _spread(counts.letters_per_query),
        "queries_per_image": _spread(counts.queries_per_image),
        "scripts": _shares(counts.scripts, SCRIPTS, counts.queries),
        "word_scripts": _shares(counts.word_scripts, SCRIPTS, counts.words),
        "marks": _shares(counts.marks, MARKS, counts.queries),
        "duplicates": {
            "distinct_as_written": stats.distinct_written,
            "share_as_written": share(counts.queries - stats.distinct_written, counts.queries),
            "distinct_words_only": stats.distinct_texts,
            "share_words_only": share(with_words - stats.distinct_texts, with_words),
            "near": stats.near,
            "near_share": share(stats.near, stats.distinct_texts),
            "near_threshold": THRESHOLD,
            "near_examples": [[shorten(a), shorten(b)] for a, b in stats.pairs],
        },
        "vocabulary": {
            "distinct": stats.distinct_words,
            "growth": [list(point) for point in stats.growth],
            "heaps": None if law is None else {"k": law[0], "beta": law[1]},
        },
        "ngrams": {
            "size": 3,
            "total": stats.ngram_total,
            "distinct": stats.distinct_ngrams,
            "top": _pairs(stats.ngrams),
        },
        "top_words": _pairs(stats.words),
        "top_texts": _pairs(stats.texts),
        "samples": [shorten(query) for query in stats.samples],
    }


def share(part: int, whole: int) -> float:
    """``part / whole``, and 0 of nothing."""
    return part / whole if whole else 0.0


def _spread(histogram: Counter[int]) -> dict[str, Any]:
    spread = Spread.of(histogram)
    return {
        "min": spread.minimum,
        "mean": spread.mean,
        "median": spread.median,
        "p95": spread.p95,
        "max": spread.maximum,
        "counts": {str(value): count for value, count in sorted(histogram.items())},
    }


def _shares(found: Counter[str], names: Iterable[str], whole: int) -> dict[str, Any]:
    return {name: {"count": found[name], "share": share(found[name], whole)} for name in names}


def _pairs(found: list[tuple[str, int]]) -> list[list[str | int]]:
    return [[shorten(text), count] for text, count in found]
