"""A map of the texts in the plane: neighbours stay neighbours, distances do not mean much.

Source: t-SNE (van der Maaten and Hinton, 2008), by scikit-learn, after PCA.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

POINTS = 1500
"""Most texts on a map."""

_WIDTH = 50
_PERPLEXITY = 30.0


def compact(
    vectors: NDArray[np.float32], labels: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """What a map needs: a sample of the vectors, few numbers each.

    The sample is every cluster's share, and one of each cluster at least; always the same.

    Returns:
        Which vectors, [M] int64 ascending, and [M, at most 50] float32: their principal components.
    """
    rows = _sample(labels)
    some = vectors[rows].astype(np.float64)
    left, strength, _ = np.linalg.svd(some - some.mean(axis=0), full_matrices=False)
    return rows, (left * strength)[:, :_WIDTH].astype(np.float32)


def flatten(components: NDArray[np.float32]) -> NDArray[np.float64]:
    """Places in the plane, [M, 2], each coordinate from 0 to 1, for what :func:`compact` gave.

    Some seconds for a thousand.
    """
    from sklearn.manifold import TSNE

    count = len(components)
    places = np.zeros((count, 2))
    places[:, : components.shape[1]] = components[:, :2]
    spread = places.std(axis=0).max(initial=0)
    if count > 3 and spread > 0:
        places = TSNE(
            2,
            perplexity=min(_PERPLEXITY, (count - 1) / 3),
            init=1e-4 * places / spread,
            learning_rate="auto",
            max_iter=500,
            random_state=0,
        ).fit_transform(components.astype(np.float64))
    places = places - places.min(axis=0, initial=np.inf) if count else places
    return np.asarray(places / max(float(places.max(initial=0)), 1e-12), np.float64)


def _sample(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Evenly spaced rows of every cluster, by its share."""
    if len(labels) <= POINTS:
        return np.arange(len(labels))
    chosen = []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        share = max(1, round(POINTS * len(own) / len(labels)))
        chosen.append(own[np.linspace(0, len(own) - 1, share).astype(np.int64)])
    return np.sort(np.concatenate(chosen))
