"""Ward's agglomerative clustering, and a classifier by the nearest neighbours.

Source: the contest entry (github.com/SkylarPro/YandexCupCV); Ward, 1963. The linkage is
fastcluster's (Müllner, 2013).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import fastcluster
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from engine.contracts import Arrays, Clusterer, check_vectors
from engine.errors import ArtifactError, DataError
from engine_plugins.clusterers.choose import best, by_size, silhouettes
from engine_plugins.clusterers.neighbours import nearest, run_blocks, vote
from engine_plugins.clusterers.settings import AgglomerativeKnnSettings

ROWS, COLUMNS = 512, 1024
"""Of a tile of distances: 4 MB, which stay in a core's cache."""

MAX_VECTORS = 60_000
"""Vectors whose distances (14.4 GB) one may still want in memory."""


class AgglomerativeKnn(Clusterer):
    """See :class:`AgglomerativeKnnSettings`.

    Finding clusters among N vectors takes 4 N (N - 1) bytes for their distances (20,000 vectors:
    1.6 GB), and little beside. The labels of :meth:`predict` are those of scikit-learn's
    ``KNeighborsClassifier``.
    """

    settings: AgglomerativeKnnSettings

    def cluster(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """Give every vector [N, W] the number of its cluster, [N] int64."""
        wanted = self.settings.cluster_count()
        different = check_vectors(vectors, wanted or self.settings.min_clusters)
        if len(vectors) > MAX_VECTORS:
            raise DataError(
                f"agglomerative clustering of {len(vectors):,} vectors needs"
                f" {4 * len(vectors) ** 2 / 1e9:,.0f} GB for their distances",
                hint=f"lower clusters.most_frequent (to {MAX_VECTORS:,} at most), or use the"
                " clusterer `kmeans`",
            )
        distances = _HandedOver(condensed_distances(vectors))
        tree = fastcluster.linkage(distances, "ward", preserve_input=False)
        del distances
        if wanted is None:
            maximum = min(self.settings.max_clusters, different)
            minimum = min(self.settings.min_clusters, maximum)
            self.scores = silhouettes(vectors, lambda count: cut(tree, count), minimum, maximum)
            wanted = best(self.scores)
        self.count = wanted
        return by_size(cut(tree, wanted))

    def learn(self, vectors: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """Learn from vectors [N, W] and their clusters [N] to place new vectors."""
        if not len(vectors):
            raise DataError("agglomerative_knn: no vectors to learn from")
        self._vectors, self._labels = np.ascontiguousarray(vectors, np.float32), labels

    def predict(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """Give new vectors [N, W] the numbers of their clusters, [N] int64."""
        neighbours = min(self.settings.neighbours, len(self._vectors))
        return vote(self._labels[nearest(self._vectors, vectors, neighbours)], self.count)

    def arrays(self) -> Arrays:
        """The fitted arrays by name, as they are stored beside the weights."""
        return {
            "vectors": self._vectors,
            "labels": self._labels,
            "count": np.array([self.count], np.int64),
        }

    def load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take up the arrays that :meth:`arrays` gave."""
        wanted = {"vectors": np.float32, "labels": np.int64, "count": np.int64}
        if {name: array.dtype for name, array in arrays.items()} != wanted:
            raise ArtifactError("clusterer `agglomerative_knn`: arrays missing, or of other types")
        vectors, labels, count = (arrays[name] for name in wanted)
        if vectors.ndim != 2 or not len(vectors) or labels.shape != vectors.shape[:1]:
            raise ArtifactError("clusterer `agglomerative_knn`: arrays do not fit each other")
        if count.shape != (1,) or labels.min() < 0 or labels.max() >= count[0]:
            raise ArtifactError("clusterer `agglomerative_knn`: labels beyond its clusters")
        if not np.isfinite(vectors).all():
            raise ArtifactError("clusterer `agglomerative_knn`: vectors hold NaN or infinity")
        self.count = int(count[0])
        self.learn(vectors, labels)


def condensed_distances(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Euclidean distances of every pair, [N (N - 1) / 2] float64: scipy's ``pdist``.

    From matrix products, tile by tile, in double precision: the differences of small distances
    decide which clusters merge.
    """
    count = len(vectors)
    rows = vectors.astype(np.float64)
    squares = np.einsum("ij,ij->i", rows, rows)
    number = np.arange(count)
    places = number * (2 * count - number - 3) // 2 - 1  # + j: where the pair (i, j) stands
    found = np.empty(count * (count - 1) // 2)

    def fill(top: int) -> None:
        """The pairs of some rows with those after them."""
        bottom = min(top + ROWS, count)
        doubled = -2 * rows[top:bottom]
        room = np.empty(ROWS * COLUMNS)
        for left in range(top, count, COLUMNS):
            right = min(left + COLUMNS, count)
            shape = (bottom - top, right - left)
            tile = room[: shape[0] * shape[1]].reshape(shape)
            np.matmul(doubled, rows[left:right].T, out=tile)
            tile += squares[left:right]
            tile += squares[top:bottom, None]
            np.maximum(tile, 0, out=tile)
            for row in range(top, bottom):
                start = max(left, row + 1)
                if start < right:
                    target = found[places[row] + start : places[row] + right]
                    np.sqrt(tile[row - top, start - left :], out=target)

    run_blocks(fill, range(0, count, ROWS))
    return found


class _HandedOver:
    """An array that its receiver may overwrite.

    fastcluster 1.3 begins with ``numpy.array(X)``, a copy of all distances, whatever
    ``preserve_input`` says; numpy takes what this gives as that copy.
    """

    def __init__(self, array: NDArray[np.float64]) -> None:
        self._array = array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.float64]:
        return self._array


def cut(tree: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """The labels of exactly ``count`` clusters of a linkage of N vectors, 1 <= count <= N.

    scipy's ``fcluster`` gives fewer where merges are equally high, and its ``cut_tree`` is slow.

    Args:
        tree: [N - 1, 4], the merges in order of their heights (scipy's and fastcluster's form).
        count: number of clusters.
    """
    leaves = len(tree) + 1
    merges = leaves - count
    parents = np.repeat(np.arange(leaves, leaves + merges), 2)
    children = tree[:merges, :2].astype(np.int64).ravel()
    size = leaves + merges
    edges = coo_array((np.ones(2 * merges, np.int8), (parents, children)), shape=(size, size))
    labels = connected_components(edges, directed=False)[1]
    return np.asarray(labels[:leaves], np.int64)
