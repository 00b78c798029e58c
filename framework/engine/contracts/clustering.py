"""Embedders and clusterers: texts to vectors, vectors to clusters. Nothing here imports torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
"""Named arrays: what a fitted plugin is, stored as safetensors. Never a pickle."""


class Embedder(ABC):
    """Texts to vectors.

    Attributes:
        width: length of a vector; known after :meth:`fit` at the latest.
    """

    width: int

    def fit(self, texts: Sequence[str]) -> None:  # noqa: B027 - most embedders need no fitting
        """Learn from the texts, where the embedder learns at all. Called once, before embed."""

    @abstractmethod
    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[N] texts -> [N, width] float32, each row of length 1 (a text without any known part: 0).

        A text's vector does not depend on the others of the call.
        """

    def arrays(self) -> Arrays:
        """What :meth:`fit` learned (empty where nothing is learned)."""
        return {}

    def load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:  # noqa: B027
        """Restore what :meth:`arrays` gave.

        Raises:
            ArtifactError: the arrays are not this embedder's.
        """


class Clusterer(ABC):
    """Vectors to clusters.

    Attributes:
        count: number of clusters K; labels run from 0 to K - 1.
    """

    count: int

    @abstractmethod
    def fit(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """[N, D] float32 -> the label of each, [N] int64. Same input, same labels.

        Raises:
            DataError: fewer vectors than clusters, or a vector with NaN or infinity.
        """

    @abstractmethod
    def predict(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """[N, D] float32 -> [N] int64: the cluster of each vector, after :meth:`fit`."""

    @abstractmethod
    def arrays(self) -> Arrays:
        """What :meth:`fit` found."""

    @abstractmethod
    def load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Restore what :meth:`arrays` gave.

        Raises:
            ArtifactError: the arrays are not this clusterer's.
        """
