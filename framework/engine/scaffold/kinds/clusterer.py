"""A clusterer to begin with."""

from __future__ import annotations

from engine.scaffold.kind import HALF_IN_CLUSTER, PackageKind, clusters

SETTINGS = '''\
"""What a config may say to `$name`. Every command reads this, so it imports no torch."""

from __future__ import annotations

from typing import Annotated

from engine.contracts import ClustererSettings
from pydantic import Field


class ${class_name}Settings(ClustererSettings):
    """$title."""

    count: Annotated[int, Field(ge=2, le=10_000)] = Field(10, description="number of clusters, K")
'''

PLUGIN = '''\
"""`$name`: clusters among vectors.

Its contract: engine/contracts/clustering.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from engine.contracts import Arrays, Clusterer, check_vectors
from engine.errors import ArtifactError
from numpy.typing import NDArray

from .settings import ${class_name}Settings


class $class_name(Clusterer):
    """$title.

    Source: T. Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985.
    """

    settings: ${class_name}Settings

    def cluster(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """[N, D] -> the label of each, 0 being the largest cluster, none empty."""
        self.count = self.settings.count
        check_vectors(vectors, self.count)
        labels = np.zeros(len(vectors), np.int64)
        nearest = np.full(len(vectors), np.inf)
        centre = 0
        for label in range(self.count):
            distance = away(vectors, vectors[centre])
            labels[distance < nearest] = label
            nearest = np.minimum(distance, nearest)
            centre = int(nearest.argmax())
        sizes = np.bincount(labels, minlength=self.count)
        rank = np.argsort(np.argsort(-sizes, kind="stable"))
        return np.asarray(rank[labels], np.int64)

    def learn(self, vectors: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """The mean of each cluster; one that has no vector here is never nearest."""
        self.centres = np.full((self.count, vectors.shape[1]), np.inf, np.float32)
        for label in np.unique(labels):
            self.centres[label] = vectors[labels == label].mean(axis=0)

    def predict(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """[N, D] -> [N]: the nearest mean."""
        distances = np.stack([away(vectors, centre) for centre in self.centres])
        return np.asarray(distances.argmin(axis=0), np.int64)

    def arrays(self) -> Arrays:
        """What learn() learned."""
        return {"centres": self.centres}

    def load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Restore what arrays() gave; the arrays may come from anybody."""
        if {name: array.dtype for name, array in arrays.items()} != {"centres": np.float32}:
            raise ArtifactError("`$name`: expected one array, `centres`, of float32")
        centres = arrays["centres"]
        if centres.ndim != 2 or not len(centres) or np.isnan(centres).any():
            raise ArtifactError("`$name`: its centres are not a matrix of numbers")
        self.count, self.centres = len(centres), centres


def away(vectors: NDArray[np.float32], centre: NDArray[np.float32]) -> NDArray[np.float64]:
    """[N, D], [D] -> [N]: squared distances."""
    difference = vectors.astype(np.float64) - centre
    return np.asarray((difference**2).sum(axis=1))
'''

PACKAGE = PackageKind(
    file="clusterer",
    contract="Clusterer",
    contract_module="engine.contracts.clustering",
    summary="the vectors that are farthest from each other, and what is nearest to each",
    settings=SETTINGS,
    plugin=PLUGIN,
    slots={"clusters": clusters("tfidf_svd", "$name"), "sampler": HALF_IN_CLUSTER},
)
