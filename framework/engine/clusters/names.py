"""What tells a cluster's texts from the others'.

Source: the log-odds ratio with an informative Dirichlet prior (Monroe, Colaresi and Quinn,
"Fightin' Words", 2008), which asks both how much more often a term stands in the cluster and how
sure that is: neither words of everywhere nor single finds come out first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

TERMS = 10
"""Most terms of a cluster."""

IN_NAME = 3
"""Terms that make its name."""

_PRIOR = 0.1
"""Weight of the prior against a cluster of middling size: the more, the fewer rare terms."""

_TELLING = 1.96  # standard deviations
_WORD = re.compile(r"\w+(?:[-'’.]\w+)*")
_TELLS = re.compile(r"[^\W\d_]\w\w")  # shorter ones are mostly prepositions


def telling_terms(
    texts: Sequence[str], labels: NDArray[np.int64], count: int, longest: int
) -> list[list[str]]:
    """The most telling terms of each cluster, at most ``TERMS``; the best first.

    Args:
        texts: [N].
        labels: [N], 0 to ``count - 1``.
        count: number of clusters.
        longest: words of the longest term.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    def words(text: str) -> list[str]:
        found = _WORD.findall(text)
        return [word for word in found if _TELLS.search(word)] or found or text.split()

    vectorizer = CountVectorizer(
        analyzer=lambda text: _terms(words(text), longest), binary=True, dtype=np.int64
    )
    table = vectorizer.fit_transform(texts)
    terms = vectorizer.get_feature_names_out()
    member = np.zeros((count, len(texts)))
    member[labels, np.arange(len(texts))] = 1
    inside = member @ table  # [K, terms]
    scores = _scores(np.asarray(inside, np.float64))
    return [_best(terms, row) for row in scores]


def name_of(terms: Sequence[str], typical: Sequence[str]) -> str:
    """A name of the most telling terms, or else of the most typical text.

    A term that only inflects the words of an earlier one (``cats`` beside ``cat``) is left out.
    """
    chosen: list[str] = []
    for term in terms:
        if len(chosen) < IN_NAME and not any(_repeats(term, other) for other in chosen):
            chosen.append(term)
    return ", ".join(chosen) or next(iter(typical), "")


def _repeats(term: str, other: str) -> bool:
    """Whether the words of one term stand in the other, in whatever form."""
    short, long = sorted((term.split(), other.split()), key=len)
    return all(any(_same_word(one, two) for two in long) for one in short)


def _same_word(one: str, two: str) -> bool:
    """Whether two words look like forms of one: a long common beginning, short ends.

    A rule of thumb for languages that inflect at the end (Russian, English, German, Turkish ...)
    that needs no dictionary. Where it is wrong, a name has another of the telling terms.
    """
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False)))
    longest = max(len(one), len(two))
    return one == two or (common >= 3 and longest - common <= min(3, common))


def _terms(words: Sequence[str], longest: int) -> list[str]:
    return [
        " ".join(words[start : start + length])
        for length in range(1, longest + 1)
        for start in range(len(words) - length + 1)
    ]


def _scores(inside: NDArray[np.float64]) -> NDArray[np.float64]:
    """The z-score of each term's log-odds ratio, cluster against the rest, [K, terms]."""
    total = inside.sum(axis=0)
    prior = _PRIOR * total / len(inside)
    outside = total - inside
    own, rest = inside + prior, outside + prior
    odds = np.log(own / _others(own)) - np.log(rest / _others(rest))
    return np.asarray(odds / np.sqrt(1 / own + 1 / rest))


def _others(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each term, the weight of all the others in its cluster; never quite 0."""
    whole = weights.sum(axis=1, keepdims=True)
    return np.asarray(np.maximum(whole - weights, 1e-9 * whole))


def _best(terms: NDArray[np.object_], scores: NDArray[np.float64]) -> list[str]:
    """The highest scores, without terms that only lengthen or shorten a chosen one."""
    chosen: list[str] = []
    for index in np.lexsort((terms, -scores)):
        if len(chosen) == TERMS or scores[index] < _TELLING:
            break
        term = str(terms[index])
        if not any(f" {term} " in f" {other} " or f" {other} " in f" {term} " for other in chosen):
            chosen.append(term)
    return chosen
