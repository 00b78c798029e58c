"""A share of every batch from one cluster: the model learns "wolf or fox", not "wolf or tank"."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.contracts import Epoch, Rows, Sampler
from engine.errors import DataError
from engine_plugins.samplers.settings import InClusterSettings
from engine_plugins.samplers.shuffled import check_rows


class InCluster(Sampler):
    """Batches of two parts: rows of one cluster, and rows at random.

    The cluster of a batch is drawn by the number of its rows that are left in the epoch, so that
    all run out together; where it has too few left, random rows fill the batch. A row is in one
    batch of an epoch at most. Rows without a cluster (-1) come at random only.
    """

    settings: InClusterSettings

    def batches(self, epoch: Epoch) -> Sequence[Rows]:
        """See the contract.

        Raises:
            DataError: fewer rows than a batch, or no clusters.
        """
        check_rows(epoch)
        if epoch.clusters is None:
            raise DataError(
                "the sampler `in_cluster` needs clusters, and the config has none",
                hint="add a `clusters:` section, or use the sampler `shuffled`",
            )
        rng = np.random.default_rng(epoch.seed)
        deck = _Deck(rng.permutation(epoch.rows), epoch.clusters)
        count = epoch.rows // epoch.batch_size
        found = []
        for number in range(count):
            wanted = round(self._share(epoch, number / count) * epoch.batch_size)
            inside = deck.draw(deck.choose(rng), wanted) if wanted > 1 else deck.none
            outside = deck.draw(None, epoch.batch_size - len(inside))
            found.append(rng.permutation(np.concatenate([inside, outside])))
        return found

    def _share(self, epoch: Epoch, through: float) -> float:
        """The share for a batch, ``through`` (0..1) of the epoch being over."""
        first, last = self.settings.share
        done = (epoch.index + through) / epoch.count
        return first + (last - first) * min(done, 1.0)


class _Deck:
    """Rows of an epoch in random order, taken from one cluster or from all, each once."""

    none: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def __init__(self, order: NDArray[np.int64], clusters: Rows) -> None:
        self._order, self._taken = order, np.zeros(len(order), dtype=bool)
        self._clusters = clusters
        known = order[clusters[order] >= 0]
        by_cluster = known[np.argsort(clusters[known], kind="stable")]
        self._left = np.bincount(clusters[known]) if len(known) else np.zeros(0, dtype=np.int64)
        ends = np.cumsum(self._left)
        self._piles = np.split(by_cluster, ends[:-1]) if len(ends) else []
        self._next = [0] * len(self._piles)
        self._next_of_all = 0

    def choose(self, rng: np.random.Generator) -> int | None:
        """A cluster, by the number of its rows that are left; ``None`` where none has any."""
        total = self._left.sum()
        if not total:
            return None
        drawn: int = rng.choice(len(self._left), p=self._left / total)
        return drawn

    def draw(self, cluster: int | None, count: int) -> NDArray[np.int64]:
        """At most so many rows of a cluster; of ``None``: of all rows."""
        pile = self._order if cluster is None else self._piles[cluster]
        start = at = self._next_of_all if cluster is None else self._next[cluster]
        found: list[NDArray[np.int64]] = []
        missing = count
        while missing > 0 and at < len(pile):  # rows that the other way took are passed over
            some = pile[at : at + missing]
            at += len(some)
            found.append(some[~self._taken[some]])
            missing -= len(found[-1])
        if cluster is None:
            self._next_of_all = at
        else:
            self._next[cluster] = at
        rows = np.concatenate(found) if at > start else self.none
        self._taken[rows] = True
        clusters = self._clusters[rows]
        np.subtract.at(self._left, clusters[clusters >= 0], 1)
        return rows
