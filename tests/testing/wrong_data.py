"""Right and wrong tokenizers, embedders, clusterers and datasets."""

from __future__ import annotations

import itertools
import json
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.contracts import (
    Clusterer,
    Embedder,
    Tokenizer,
    check_vectors,
)
from engine.errors import ArtifactError

# ---- tokenizers ---------------------------------------------------------------------------------

END = 1


class RightTokenizer(Tokenizer):
    """One id a character that was seen, 2 for others, 1 at the end."""

    pad_id = 0

    def __init__(self, letters: str, origin: str) -> None:
        self.letters, self.origin = letters, origin
        self.ids = {letter: 3 + i for i, letter in enumerate(letters)}
        self.vocab_size = 3 + len(letters)

    @classmethod
    def make(cls, settings: Any, texts: Any, vocab_size: int) -> RightTokenizer:
        letters = sorted({letter for text in texts() for letter in text})
        return cls("".join(letters)[: vocab_size - 3], "trained on some texts")

    @classmethod
    def from_bytes(cls, settings: Any, data: bytes) -> RightTokenizer:
        try:
            found = json.loads(data.decode())
            return cls(str(found["letters"]), str(found["origin"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"no letters: {error}") from error

    def to_bytes(self) -> bytes:
        return json.dumps({"letters": self.letters, "origin": self.origin}).encode()

    def encode(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        return [[*self.row(text)[: max_tokens - 1], END] for text in texts]

    def row(self, text: str) -> list[int]:
        return [self.ids.get(letter, 2) for letter in text]


class IdsBeyond(RightTokenizer):
    """Unknown letters get an id behind the last one."""

    def row(self, text: str) -> list[int]:
        return [self.ids.get(letter, self.vocab_size) for letter in text]


class EmptyForNothing(RightTokenizer):
    """No end mark, so the empty text has no token."""

    def encode(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        return [self.row(text)[:max_tokens] for text in texts]


class LosesItsEnd(RightTokenizer):
    """Cuts the end mark off with the rest."""

    def encode(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        return [[*self.row(text), END][:max_tokens] for text in texts]


class TooLong(RightTokenizer):
    """Does not count its mark."""

    def encode(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        return [[*self.row(text)[:max_tokens], END] for text in texts]


class ChokesOnSurrogates(RightTokenizer):
    """Takes only what UTF-8 can hold."""

    def row(self, text: str) -> list[int]:
        return super().row(text.encode().decode())


class GrowsItsVocabulary(RightTokenizer):
    """Gives letters ids as they come."""

    def row(self, text: str) -> list[int]:
        for letter in text:
            if len(self.ids) < len(self.letters) + 40 and letter not in self.ids:
                self.ids[letter] = 3 + len(self.ids) % len(self.letters)
        return super().row(text)


class PicklesItself(RightTokenizer):
    """Bytes that run code."""

    @classmethod
    def from_bytes(cls, settings: Any, data: bytes) -> RightTokenizer:
        return cls(*pickle.loads(data))

    def to_bytes(self) -> bytes:
        return pickle.dumps((self.letters, self.origin))


class ForgetsInBytes(RightTokenizer):
    """Writes only the first letters."""

    def to_bytes(self) -> bytes:
        return json.dumps({"letters": self.letters[:5], "origin": self.origin}).encode()


class TakesAnyBytes(RightTokenizer):
    """A KeyError for what is not its own."""

    @classmethod
    def from_bytes(cls, settings: Any, data: bytes) -> RightTokenizer:
        found = json.loads(data or b"{}")
        return cls(found["letters"], found["origin"])


# ---- embedders ---------------------------------------------------------------------------------


class RightEmbedder(Embedder):
    """Counts of the letters seen in training."""

    def fit(self, texts: Sequence[str]) -> None:
        self.letters = np.array(sorted({ord(c) for text in texts for c in text}), np.int64)
        self.width = len(self.letters)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        found = np.array([self.row(text) for text in texts], np.float32)
        return self.unit(found.reshape(len(texts), self.width))

    def row(self, text: str) -> NDArray[np.float32]:
        points = np.array([ord(c) for c in text], np.int64)
        return np.array([(points == one).sum() for one in self.letters], np.float32)

    def unit(self, found: NDArray[np.float32]) -> NDArray[np.float32]:
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"letters": self.letters}

    def load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        if set(arrays) != {"letters"} or arrays["letters"].dtype != np.int64:
            raise ArtifactError("expected `letters`")
        self.letters, self.width = arrays["letters"], len(arrays["letters"])


class NotOfLengthOne(RightEmbedder):
    """Counts as they are."""

    def unit(self, found: NDArray[np.float32]) -> NDArray[np.float32]:
        return found


class DividesByZero(RightEmbedder):
    """The empty text has length 0."""

    def unit(self, found: NDArray[np.float32]) -> NDArray[np.float32]:
        with np.errstate(invalid="ignore"):
            return found / np.linalg.norm(found, axis=1, keepdims=True)


class DoublePrecision(RightEmbedder):
    """float64."""

    def unit(self, found: Any) -> Any:
        return super().unit(found.astype(np.float64))


class CentresTheCall(RightEmbedder):
    """Takes the mean of the call off."""

    def unit(self, found: NDArray[np.float32]) -> NDArray[np.float32]:
        unit = super().unit(found)
        return super().unit(unit - unit.mean(axis=0)) if len(unit) > 1 else unit


class KeepsNothing(RightEmbedder):
    """Has learned, and does not say what."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {}

    def load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        pass


# ---- clusterers --------------------------------------------------------------------------------


class RightClusterer(Clusterer):
    """The nearest of K vectors that lie far from each other."""

    def cluster(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        self.count = self.settings.cluster_count() or 2
        self.check(vectors)
        return self.number(self.nearest(vectors, self.choose(vectors)))

    def check(self, vectors: NDArray[np.float32]) -> None:
        check_vectors(vectors, self.count)

    def choose(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        chosen = [vectors[self.first(vectors)]]
        while len(chosen) < self.count:
            far = np.min([np.linalg.norm(vectors - one, axis=1) for one in chosen], axis=0)
            chosen.append(vectors[far.argmax()])
        return np.array(chosen)

    def first(self, vectors: NDArray[np.float32]) -> int:
        return 0

    def number(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        order = np.argsort(-np.bincount(labels, minlength=self.count), kind="stable")
        return np.argsort(order)[labels]

    def nearest(
        self, vectors: NDArray[np.float32], centres: NDArray[np.float32]
    ) -> NDArray[np.int64]:
        return np.linalg.norm(vectors[:, None] - centres[None], axis=2).argmin(axis=1)

    def learn(self, vectors: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        self.centres = np.full((self.count, vectors.shape[1]), 1e6, np.float32)
        for one in np.unique(labels):
            self.centres[one] = vectors[labels == one].mean(axis=0)

    def predict(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        return self.nearest(vectors, self.centres)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"centres": self.centres}

    def load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        if set(arrays) != {"centres"} or arrays["centres"].dtype != np.float32:
            raise ArtifactError("expected `centres`")
        self.centres, self.count = arrays["centres"], len(arrays["centres"])


class LabelsFromOne(RightClusterer):
    """Counts clusters from 1."""

    def number(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        return super().number(labels) + 1


class ClusterStaysEmpty(RightClusterer):
    """The last cluster has no vector."""

    def number(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.minimum(super().number(labels), self.count - 2)


class SmallestFirst(RightClusterer):
    """Numbers by size, the wrong way round."""

    def number(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        return self.count - 1 - super().number(labels)


_TURN = itertools.count()


class RandomClusters(RightClusterer):
    """Puts another vector elsewhere each time."""

    def number(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        moved, row = labels.copy(), 7 * next(_TURN) % len(labels)
        moved[row] = (moved[row] + 1) % self.count
        return super().number(moved)


class TakesNan(RightClusterer):
    """Looks at no vector."""

    def check(self, vectors: NDArray[np.float32]) -> None:
        pass


class PredictsZero(RightClusterer):
    """All in one."""

    def predict(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        return np.zeros(len(vectors), np.int64)


class LearnsOnTop(RightClusterer):
    """The mean of what it learned before and of what it learns now."""

    def learn(self, vectors: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        before = getattr(self, "centres", None)
        super().learn(vectors, labels)
        if before is not None:
            self.centres = before
