"""The number of clusters by a score."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances, silhouette_score

SAMPLE = 2000
"""Vectors that are scored; all of a smaller number."""


def silhouettes(
    vectors: NDArray[np.float32],
    labels_of: Callable[[int], NDArray[np.int64]],
    minimum: int,
    maximum: int,
) -> dict[int, float]:
    """The mean silhouette of each number of clusters from ``minimum`` to ``maximum``.

    It is -1 to 1: how much nearer vectors are to their own cluster than to the next (Rousseeuw,
    1987), in Euclidean distance. Vectors are a sample where there are many, always the same one.

    Args:
        vectors: [N, D], all that were clustered.
        labels_of: the labels [N] for a number of clusters.
        minimum: fewest clusters.
        maximum: most clusters, at most N.
    """
    rows = np.arange(len(vectors))
    if len(rows) > SAMPLE:
        rows = np.sort(np.random.default_rng(0).choice(rows, SAMPLE, replace=False))
    distances = pairwise_distances(vectors[rows].astype(np.float64))
    scores = {}
    for count in range(minimum, maximum + 1):
        labels = labels_of(count)[rows]
        present = len(np.unique(labels))
        # Small clusters may be missing from the sample; a single one, or only single vectors, have
        # no silhouette.
        fits = 2 <= present < len(rows)
        scores[count] = (
            float(silhouette_score(distances, labels, metric="precomputed")) if fits else -1.0
        )
    return scores


def best(scores: Mapping[int, float]) -> int:
    """The number with the highest score; the smaller one of equals."""
    return max(scores, key=lambda count: (scores[count], -count))


def by_size(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Renumber: 0 is the largest cluster; of equals, the one whose first vector comes first."""
    _, first, inverse, sizes = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.lexsort((first, -sizes))
    new = np.empty(len(order), np.int64)
    new[order] = np.arange(len(order))
    return new[inverse]
