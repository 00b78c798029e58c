"""Nearest neighbours by matrix products (faiss), and their vote."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

ROWS = 1024
"""Vectors whose neighbours one thread looks for at once."""

_SPARE = 4
"""More neighbours that faiss gives, for the second look."""

_NEAR = 1e-5
"""What single precision may change of a squared distance, with room: it is some 1e-7 a number."""


def nearest(
    known: NDArray[np.float32], vectors: NDArray[np.float32], count: int
) -> NDArray[np.int64]:
    """The ``count`` rows of ``known`` nearest to each vector, [N, count].

    By Euclidean distance, in single precision; where its rounding could mix up the last neighbour
    with the next rows, those are compared again in double precision. Which of equally far rows
    comes in is not said.

    Args:
        known: [M, D].
        vectors: [N, D], finite.
        count: at most M.
    """
    vectors = np.ascontiguousarray(vectors, np.float32)
    found = np.empty((len(vectors), count), np.int64)

    def look(start: int) -> None:
        faiss.omp_set_num_threads(1)  # of this thread
        some = vectors[start : start + ROWS]
        distances, order = faiss.knn(some, known, min(count + _SPARE, len(known)))
        found[start : start + ROWS] = _settle(known, some, distances, order, count)

    run_blocks(look, range(0, len(vectors), ROWS))
    return found


def run_blocks(work: Callable[[int], object], starts: Iterable[int]) -> None:
    """Run the work of blocks in threads, each with BLAS on its own core.

    A thread a block, not a thread a slice of every product: on a busy machine no thread waits for
    another. As many threads as OpenMP would take (``OMP_NUM_THREADS``, or the cores).
    """
    threads = faiss.omp_get_max_threads()
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, starts):
            pass


def _settle(
    known: NDArray[np.float32],
    vectors: NDArray[np.float32],
    distances: NDArray[np.float32],
    order: NDArray[np.int64],
    count: int,
) -> NDArray[np.int64]:
    """The first ``count`` of ``order``, put right where rounding may have chosen them."""
    found = order[:, :count].copy()
    if order.shape[1] == count:
        return found  # every row is a neighbour
    scale = 1 + (vectors * vectors).sum(axis=1) + distances[:, count]
    for i in np.flatnonzero(distances[:, count] - distances[:, count - 1] < _NEAR * scale):
        candidates = order[i]
        exact = known[candidates].astype(np.float64) - vectors[i]
        squares = np.einsum("ij,ij->i", exact, exact)
        found[i] = candidates[np.lexsort((candidates, squares))[:count]]
    return found


def vote(labels: NDArray[np.int64], clusters: int) -> NDArray[np.int64]:
    """The most frequent label of each row of [N, neighbours]; the smallest one of equals."""
    votes = np.zeros((len(labels), clusters), np.int32)
    rows = np.arange(len(labels))
    for column in labels.T:
        votes[rows, column] += 1
    return np.asarray(votes.argmax(axis=1), np.int64)
