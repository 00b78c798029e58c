"""An embedder to begin with."""

from __future__ import annotations

from engine.scaffold.kind import HALF_IN_CLUSTER, PackageKind, clusters

SETTINGS = '''\
"""What a config may say to `$name`. Every command reads this, so it imports no torch."""

from __future__ import annotations

from engine.contracts import EmbedderSettings
from pydantic import Field


class ${class_name}Settings(EmbedderSettings):
    """$title."""

    width: int = Field(64, ge=2, le=4096, description="length of a vector")
'''

PLUGIN = '''\
"""`$name`: texts become vectors for clustering.

Its contract: engine/contracts/clustering.py.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from engine.contracts import Embedder
from numpy.typing import NDArray

from .settings import ${class_name}Settings


class $class_name(Embedder):
    """$title.

    An embedder that learns overrides fit(), arrays() and load_arrays() too.
    """

    def __init__(self, settings: ${class_name}Settings) -> None:
        super().__init__(settings)
        self.width = settings.width

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[N] texts -> [N, width], rows of length 1; a text without words is 0."""
        vectors = np.zeros((len(texts), self.width), np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                seed = zlib.crc32(word.encode("utf-8", "surrogatepass"))
                vectors[row] += np.random.default_rng(seed).standard_normal(self.width)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        known = length > 0
        unit: NDArray[np.float32] = np.divide(
            vectors, length, out=np.zeros_like(vectors), where=known
        )
        return unit
'''

PACKAGE = PackageKind(
    file="embedder",
    contract="Embedder",
    contract_module="engine.contracts.clustering",
    summary="a random direction for each word, and their sum",
    settings=SETTINGS,
    plugin=PLUGIN,
    slots={"clusters": clusters("$name", "kmeans"), "sampler": HALF_IN_CLUSTER},
)
