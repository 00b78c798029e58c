"""TF-IDF of character n-grams, made dense: needs no weights and no network.

Texts are alike here where they share parts of words, so clusters are of wording, less of meaning.
Source: latent semantic analysis (Deerwester et al., 1990), by scikit-learn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from engine.contracts import Arrays, Embedder
from engine.errors import ArtifactError, ConfigError, DataError
from engine_plugins.embedders.settings import TfidfSvdSettings


class TfidfSvd(Embedder):
    """See :class:`TfidfSvdSettings`. A text without a known character n-gram is the vector 0.

    Raises:
        ConfigError: ``shortest`` is more than ``longest``.
    """

    settings: TfidfSvdSettings

    def __init__(self, settings: TfidfSvdSettings) -> None:
        super().__init__(settings)
        if settings.shortest > settings.longest:
            raise ConfigError(
                f"embedder `tfidf_svd`: `shortest` ({settings.shortest}) is more than `longest`"
                f" ({settings.longest})"
            )
        self._vectorizer: Any = None
        self._components: NDArray[np.float32]

    def fit(self, texts: Sequence[str]) -> None:
        """Learn from the texts that are to be clustered."""
        vectorizer = self._make(max_features=self.settings.vocabulary)
        try:
            matrix = vectorizer.fit_transform(texts)
        except ValueError as error:  # "empty vocabulary"
            raise DataError(
                f"embedder `tfidf_svd`: nothing to learn from {len(texts):,} texts ({error})",
                hint="do the texts hold any letters?",
            ) from error
        width = min(self.settings.width, *matrix.shape)
        svd = TruncatedSVD(width, n_iter=7, random_state=self.settings.seed)
        with np.errstate(invalid="ignore"):  # the share of a variance of 0, which nobody asks for
            svd.fit(matrix)
        self._set(
            list(vectorizer.get_feature_names_out()),
            vectorizer.idf_.astype(np.float32),
            svd.components_.astype(np.float32),
        )

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts as [N, W] float32."""
        if not len(texts):
            return np.zeros((0, self.width), np.float32)
        dense = np.asarray(self._vectorizer.transform(texts) @ self._components, np.float32)
        length = np.linalg.norm(dense, axis=1, keepdims=True)
        # What the components do not hold leaves rounding behind, which must not become a direction.
        known = length > 1e-6
        unit: NDArray[np.float32] = np.divide(dense, length, out=np.zeros_like(dense), where=known)
        return unit

    def arrays(self) -> Arrays:
        """The fitted arrays by name, as they are stored beside the weights."""
        vocabulary = self._vectorizer.get_feature_names_out()
        return {
            # char_wb folds all white space to spaces, so a line end parts the n-grams.
            "vocabulary": np.frombuffer("\n".join(vocabulary).encode(), np.uint8).copy(),
            "idf": self._vectorizer.idf_.astype(np.float32),
            "components": np.ascontiguousarray(self._components.T),
        }

    def load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take up the arrays that :meth:`arrays` gave."""
        vocabulary, idf, components = _checked(arrays)
        self._set(vocabulary, idf, components)

    def _make(self, **options: Any) -> Any:
        span = (self.settings.shortest, self.settings.longest)
        return TfidfVectorizer(
            analyzer="char_wb", ngram_range=span, sublinear_tf=True, dtype=np.float32, **options
        )

    def _set(
        self, vocabulary: list[str], idf: NDArray[np.float32], components: NDArray[np.float32]
    ) -> None:
        """Take the learnt numbers, the components as [width, vocabulary]."""
        self._vectorizer = self._make(vocabulary=vocabulary)
        self._vectorizer.idf_ = idf
        self._components = np.ascontiguousarray(components.T)
        self.width = len(components)


def _checked(
    arrays: Mapping[str, NDArray[Any]],
) -> tuple[list[str], NDArray[np.float32], NDArray[np.float32]]:
    wanted = {"vocabulary": np.uint8, "idf": np.float32, "components": np.float32}
    if {name: array.dtype for name, array in arrays.items()} != wanted:
        raise ArtifactError("embedder `tfidf_svd`: its arrays are missing, or of other types")
    try:
        vocabulary = arrays["vocabulary"].tobytes().decode().split("\n")
    except UnicodeDecodeError as error:
        raise ArtifactError("embedder `tfidf_svd`: its vocabulary is not UTF-8") from error
    idf, components = arrays["idf"], arrays["components"]
    fits = components.ndim == 2 and len(components) > 0 and components.shape[1:] == idf.shape
    if not fits or idf.shape != (len(vocabulary),) or len(set(vocabulary)) != len(vocabulary):
        raise ArtifactError("embedder `tfidf_svd`: its arrays do not fit each other")
    if not (np.isfinite(idf).all() and np.isfinite(components).all()):
        raise ArtifactError("embedder `tfidf_svd`: its arrays hold NaN or infinity")
    return vocabulary, idf, components
