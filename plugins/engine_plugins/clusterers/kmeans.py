"""Spherical k-means by faiss, and a classifier by the nearest centre.

Source: Johnson, Douze and Jégou, "Billion-scale similarity search with GPUs", 2017 (faiss).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from engine.contracts import Arrays, Clusterer, check_vectors
from engine.errors import ArtifactError
from engine_plugins.clusterers.choose import best, by_size, silhouettes
from engine_plugins.clusterers.settings import KMeansSettings


class KMeans(Clusterer):
    """See :class:`KMeansSettings`. Similarity is the cosine: lengths of vectors do not count."""

    settings: KMeansSettings

    def cluster(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """Give every vector [N, W] the number of its cluster, [N] int64."""
        wanted = self.settings.cluster_count()
        check_vectors(vectors, wanted or self.settings.min_clusters)
        unit = _unit(vectors)
        different = check_vectors(unit, wanted or self.settings.min_clusters)
        if wanted is None:
            maximum = min(self.settings.max_clusters, different)
            minimum = min(self.settings.min_clusters, maximum)
            self.scores = silhouettes(unit, lambda count: self._find(unit, count), minimum, maximum)
            wanted = best(self.scores)
        self.count = wanted
        return by_size(self._find(unit, wanted))

    def learn(self, vectors: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """Learn from vectors [N, W] and their clusters [N] to place new vectors."""
        centres = np.zeros((self.count, vectors.shape[1]))
        np.add.at(centres, labels, _unit(vectors).astype(np.float64))
        self._centres = _unit(centres).astype(np.float32)

    def predict(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """Give new vectors [N, W] the numbers of their clusters, [N] int64."""
        similar = _unit(vectors) @ self._centres.T
        similar[:, ~self._centres.any(axis=1)] = -np.inf  # learnt from no vector
        return np.asarray(similar.argmax(axis=1), np.int64)

    def arrays(self) -> Arrays:
        """The fitted arrays by name, as they are stored beside the weights."""
        return {"centres": self._centres}

    def load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take up the arrays that :meth:`arrays` gave."""
        if {name: array.dtype for name, array in arrays.items()} != {"centres": np.float32}:
            raise ArtifactError("clusterer `kmeans`: expected one array, `centres`, of float32")
        centres = arrays["centres"]
        if centres.ndim != 2 or not len(centres) or not np.isfinite(centres).all():
            raise ArtifactError(
                "clusterer `kmeans`: its centres are not a matrix of finite numbers"
            )
        self.count, self._centres = len(centres), centres

    def _find(self, unit: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Labels of exactly ``count`` clusters, none of them empty."""
        kmeans = faiss.Kmeans(
            unit.shape[1],
            count,
            niter=self.settings.iterations,
            nredo=self.settings.restarts,
            seed=self.settings.seed,
            spherical=True,
            min_points_per_centroid=1,  # or it warns
            max_points_per_centroid=len(unit),  # or it takes a sample
        )
        kmeans.train(unit)
        return _fill_empty(unit, np.array(kmeans.centroids, np.float32))


def _fill_empty(unit: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.int64]:
    """Labels by the nearest centre, after every centre without a vector has been given some.

    Such a centre moves to the vector that is least like its own. There are at least as many
    different vectors as centres.
    """
    for _ in range(2 * len(centres)):
        similar = unit @ centres.T
        labels = np.asarray(similar.argmax(axis=1), np.int64)
        own = similar.max(axis=1)
        sizes = np.bincount(labels, minlength=len(centres))
        if sizes.all():
            return labels
        centres[sizes.argmin()] = unit[own.argmin()]
    # Vectors that differ by less than rounding: the last empty ones take single vectors.
    for empty in np.flatnonzero(sizes == 0):
        shared = sizes[labels] > 1
        row = np.where(shared, own, np.inf).argmin()
        sizes[labels[row]] -= 1
        sizes[empty], labels[row] = 1, empty
    return labels


def _unit(vectors: NDArray[Any]) -> NDArray[Any]:
    """Rows of length 1; a row of zeros stays."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[Any] = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    return unit
