"""Which vectors are nearest to one: exactly, or by an inverted file whose recall is measured.

Up to :data:`EXACT` vectors every one is compared, which gives numpy's own results. Beyond that
faiss's inverted file (IVF) looks at the parts of the space that lie nearest: the vectors in it have
16-bit numbers, half the memory, and the candidates that it gives are compared again with the exact
ones. How many parts are looked at is found by measuring: enough for :data:`RECALL`.

Source: Johnson et al., 2017, arXiv:1702.08734 (faiss).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import faiss as _faiss
import numpy as np
from numpy.typing import NDArray

faiss: Any = _faiss  # its own annotations lack half of what is used here

EXACT = 100_000
"""Vectors up to which every one is compared."""
RECALL = 0.97
"""The share of the true ten nearest that an inverted file must find, when it is made; growing, it
may lose a little before it is made again."""

QUERIES = 256
"""Queries by which the recall is measured."""
_POINTS = 64  # for each part, in training

Ids = NDArray[np.int64]
Rows = NDArray[np.float32]


class Exact:
    """Every vector is compared with the query.

    Args:
        width: of the vectors.
    """

    def __init__(self, width: int) -> None:
        self._index = faiss.IndexIDMap2(faiss.IndexFlatIP(width))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, ids: Ids, rows: Rows) -> None:
        """Add vectors: ids [N], rows [N, J] of length 1."""
        self._index.add_with_ids(np.ascontiguousarray(rows), ids)

    def remove(self, ids: Ids) -> None:
        """Remove vectors by their ids; those that are not there are passed over."""
        if len(ids):
            self._index.remove_ids(faiss.IDSelectorBatch(ids))

    def search(self, queries: Rows, count: int, allowed: Ids | None = None) -> tuple[Rows, Ids]:
        """The nearest of each query.

        Args:
            queries: [Q, J], rows of length 1.
            count: how many.
            allowed: only these ids; ``None``: all.

        Returns:
            Cosines [Q, count] and ids [Q, count], best first; id -1 where there are fewer.
        """
        parameters = None
        if allowed is not None:
            parameters = faiss.SearchParameters(sel=faiss.IDSelectorBatch(allowed))
        found: tuple[Rows, Ids] = self._index.search(
            np.ascontiguousarray(queries), count, params=parameters
        )
        return found


class Inverted:
    """An inverted file of faiss.

    Args:
        index: the trained faiss index.
        probes: parts of the space that a search looks at.
        recall: what was measured with these.
    """

    def __init__(self, index: Any, probes: int, recall: float) -> None:
        self._index, self.probes, self.recall = index, probes, recall

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @classmethod
    def train(cls, width: int, count: int, sample: Rows) -> Inverted:
        """An empty index for about ``count`` vectors, its parts found in a sample [N, J]."""
        parts = max(1, min(int(2 * count**0.5), len(sample) // 39 or 1))
        index = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(width), width, parts, faiss.ScalarQuantizer.QT_fp16,
            faiss.METRIC_INNER_PRODUCT,
        )  # fmt: skip
        index.cp.niter, index.cp.seed = 10, 1
        index.cp.min_points_per_centroid = 1  # small samples are fine, and no cause for a warning
        index.cp.max_points_per_centroid = _POINTS
        index.train(np.ascontiguousarray(sample))
        return cls(index, 1, 0.0)

    @staticmethod
    def sample_size(count: int) -> int:
        """Vectors that training looks at, of ``count``."""
        return min(count, _POINTS * int(2 * count**0.5))

    def add(self, ids: Ids, rows: Rows) -> None:
        """As :meth:`Exact.add`."""
        self._index.add_with_ids(np.ascontiguousarray(rows), ids)

    def remove(self, ids: Ids) -> None:
        """As :meth:`Exact.remove`."""
        if len(ids):
            self._index.remove_ids(faiss.IDSelectorBatch(ids))

    def search(self, queries: Rows, count: int, allowed: Ids | None = None) -> tuple[Rows, Ids]:
        """As :meth:`Exact.search`, with cosines of 16-bit vectors, and not always the nearest."""
        selector = None if allowed is None else faiss.IDSelectorBatch(allowed)
        parameters = faiss.SearchParametersIVF(sel=selector, nprobe=self.probes)
        found: tuple[Rows, Ids] = self._index.search(
            np.ascontiguousarray(queries), count, params=parameters
        )
        return found

    def tune(self, queries: Rows, truth: Ids, target: float = RECALL) -> None:
        """Look at as many parts as ``target`` takes; measured with queries and their true nearest.

        Args:
            queries: [Q, J].
            truth: [Q, 10] ids of the true nearest.
            target: the share of them to be found.
        """
        parts = int(self._index.nlist)
        self.probes = 1
        while True:
            _, found = self.search(queries, truth.shape[1])
            self.recall = recall(found, truth)
            if self.recall >= target or self.probes >= parts:
                return
            self.probes = min(parts, max(self.probes + 1, int(self.probes * 1.4)))

    def write(self, write: Any) -> None:
        """Write it by a function that takes bytes."""
        faiss.write_index(self._index, faiss.PyCallbackIOWriter(write))

    @classmethod
    def read(cls, path: str, probes: int, measured: float) -> Inverted:
        """Read what :meth:`write` wrote."""
        return cls(faiss.read_index(path), probes, measured)


def recall(found: Ids, truth: Ids) -> float:
    """The share of the true nearest that were found, over all queries."""
    hits = [len(set(a.tolist()) & set(b.tolist())) for a, b in zip(found, truth, strict=True)]
    return sum(hits) / truth.size


def brute_force(queries: Rows, blocks: Iterator[tuple[Ids, Rows]], count: int) -> tuple[Rows, Ids]:
    """The true nearest of each query among blocks of vectors; memory does not grow with them."""
    scores = np.full((len(queries), count), -np.inf, np.float32)
    ids = np.full((len(queries), count), -1, np.int64)
    for numbers, rows in blocks:
        found = queries @ rows.T
        scores = np.concatenate([scores, found], axis=1)
        ids = np.concatenate([ids, np.broadcast_to(numbers, found.shape)], axis=1)
        best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        scores, ids = np.take_along_axis(scores, best, 1), np.take_along_axis(ids, best, 1)
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)
