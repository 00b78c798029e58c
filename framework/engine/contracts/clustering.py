"""Embedders and clusterers: texts to vectors, vectors to clusters. Nothing here imports torch.

Finding clusters and telling the cluster of a new vector are two steps of a clusterer, because the
second is evaluated on vectors that were held out of it::

    labels = clusterer.cluster(vectors)             # the clusters
    clusterer.learn(vectors[kept], labels[kept])    # a classifier of them
    clusterer.predict(vectors[held_out])            # compared with labels[held_out]
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.contracts.clustering_settings import ClustererSettings, EmbedderSettings
from engine.errors import DataError

Arrays = dict[str, NDArray[Any]]
"""Named arrays: what a fitted plugin is, stored as safetensors. Never a pickle."""


class Embedder(ABC):
    """Texts to vectors.

    Creating one reaches for its model, where it has one.

    Attributes:
        settings: its settings.
        width: length of a vector; known after :meth:`fit` (or :meth:`load_arrays`) at the latest.

    Raises:
        UnreachableError: its model cannot be reached from here; ``otherwise`` answers that.
        WeightsError: the model is there and cannot be used.
    """

    width: int

    def __init__(self, settings: EmbedderSettings) -> None:
        self.settings = settings

    def fit(self, texts: Sequence[str]) -> None:  # noqa: B027 - most embedders need no fitting
        """Learn from the texts, where the embedder learns at all. Called once, before embed."""

    @abstractmethod
    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[N] texts -> [N, width] float32, each row of length 1; a text without any known part: 0.

        Any ``str`` is a text, as for a tokenizer. A text's vector does not depend on the others of
        the call (beyond rounding). Callers give some thousand texts at a time, so an embedder may
        sort them by length, and need not show progress.
        """

    def arrays(self) -> Arrays:
        """What :meth:`fit` learned, or what tells the model from another of its name."""
        return {}

    def load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:  # noqa: B027
        """Restore what :meth:`arrays` gave; the arrays may come from anybody.

        Raises:
            ArtifactError: the arrays are not this embedder's.
        """


class Clusterer(ABC):
    """Vectors to clusters.

    Attributes:
        settings: its settings.
        count: number of clusters K; labels run from 0 to K - 1, cluster 0 being the largest. Known
            after :meth:`cluster` (or :meth:`load_arrays`) at the latest.
        scores: where K was chosen: the score of each number that was tried, the higher the better.
    """

    count: int

    def __init__(self, settings: ClustererSettings) -> None:
        self.settings = settings
        self.scores: dict[int, float] = {}

    @abstractmethod
    def cluster(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """Find the clusters: [N, D] float32 -> the label of each, [N] int64, no cluster empty.

        Same input, same labels.

        Raises:
            DataError: fewer different vectors than clusters, or a vector with NaN or infinity (see
                :func:`check_vectors`).
        """

    @abstractmethod
    def learn(self, vectors: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """Learn to tell the cluster of a vector from [N, D] vectors and their [N] labels.

        After :meth:`cluster`; a later call forgets what an earlier one learned. Some cluster may
        have no vector here.
        """

    @abstractmethod
    def predict(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """[N, D] float32 -> [N] int64: the cluster of each vector, after :meth:`learn`."""

    def fit(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """:meth:`cluster`, then :meth:`learn` from all vectors; the labels."""
        labels = self.cluster(vectors)
        self.learn(vectors, labels)
        return labels

    @abstractmethod
    def arrays(self) -> Arrays:
        """What :meth:`learn` learned."""

    @abstractmethod
    def load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Restore what :meth:`arrays` gave; the arrays may come from anybody.

        Raises:
            ArtifactError: the arrays are not this clusterer's.
        """


def check_vectors(vectors: NDArray[np.float32], clusters: int) -> int:
    """How many of the vectors differ; every clusterer asks this first.

    Raises:
        DataError: a vector has NaN or infinity, or fewer differ than there are clusters.
    """
    if vectors.ndim != 2 or vectors.shape[1] == 0:
        raise DataError(f"vectors of shape {vectors.shape}; expected [N, width]")
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise DataError(
            f"{len(bad)} of {len(vectors):,} vectors hold NaN or infinity, first number {bad[0]}",
            hint="the embedder that gave them is at fault: its weights may be damaged",
        )
    different = count_different(vectors)
    if different < clusters:
        same = "" if different == len(vectors) else f", and only {different:,} of them differ"
        raise DataError(
            f"{len(vectors):,} vectors{same}: too few for {clusters:,} clusters",
            hint="give more texts, or ask for fewer clusters (`count`)",
        )
    return different


def count_different(vectors: NDArray[np.float32]) -> int:
    """How many rows of [N, D] differ from each other."""
    # Digests, because sorting rows of a thousand numbers takes ten times as long. -0 becomes 0.
    rows = (row + np.float32(0) for row in vectors)
    return len({hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows})


class FittedClusters(Protocol):
    """Clusters as a built model carries them; ``engine.clusters`` fits, writes and reads them."""

    def manifest(self) -> dict[str, Any]:
        """What the artifact's manifest says about them, JSON types."""

    def write(self, folder: Path) -> None:
        """Write their files into an artifact's folder."""
