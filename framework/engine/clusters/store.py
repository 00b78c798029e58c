"""Fitted clusters: two files, no pickle, read without trust.

======================== =====================================================================
``clusters.json``        what was fitted and how; names, sizes and typical texts of the
                         clusters; the n-grams
``clusters.safetensors`` ``labels``, ``counts`` of the n-grams, ``confusion`` of the held-out
                         ones, the map, and what embedder and clusterer learnt, under
                         ``embedder.`` and ``clusterer.``
======================== =====================================================================

Prediction needs neither file: a clustered projection has its own router. Training does.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from engine.clusters.document import Document
from engine.contracts.refs import ClustererRef, EmbedderRef
from engine.contracts.settings import PluginRef
from engine.core.artifact import CLUSTERS, CLUSTERS_JSON
from engine.errors import ArtifactError, DataError, EngineError
from engine.printable import one_line

if TYPE_CHECKING:
    from engine.contracts.clustering import Arrays, Clusterer, Embedder
    from engine.core.registry import Registry

MAX_JSON = 1 << 30
"""Bytes of ``clusters.json`` that are read."""

UNKNOWN = -1
"""In place of a cluster: the embedder knows nothing of the text."""

GIANT = 0.8
"""The share of the n-grams above which a cluster says nothing, and is warned of."""

_OWN = {
    "labels": np.int64,
    "counts": np.int64,
    "confusion": np.int64,
    "map_rows": np.int64,
    "map_components": np.float32,
}
_PARTS = ("embedder.", "clusterer.")


_MAX_COUNTED = 1 << 40  # of one n-gram, or of one pair of clusters: sums stay far below 2^63
_LARGEST_COMPONENT = 1e6  # of the map; those of unit vectors are below 1


class Clusters:
    """Fitted clusters.

    Attributes:
        document: what ``clusters.json`` says.
        labels: [N] int64, the cluster of each of ``document.texts``.
        counts: [N] int64, how often each occurs.
        confusion: [K, K] int64: held-out n-grams of each cluster (row) by what the classifier said.
        map_rows: [M] int64, the n-grams on the map.
        map_components: [M, at most 50] float32, from which ``flatten`` makes their places.
    """

    def __init__(
        self,
        document: Document,
        arrays: Arrays,
        embedder: Callable[[], Embedder],
        clusterer: Clusterer,
    ) -> None:
        self.document = document
        self._arrays = arrays
        self._make_embedder: Callable[[], Embedder] = embedder
        self._embedder: Embedder | None = None
        self._clusterer = clusterer
        self.labels: NDArray[np.int64] = arrays["labels"]
        self.counts: NDArray[np.int64] = arrays["counts"]
        self.confusion: NDArray[np.int64] = arrays["confusion"]
        self.map_rows: NDArray[np.int64] = arrays["map_rows"]
        self.map_components: NDArray[np.float32] = arrays["map_components"]

    @classmethod
    def of(
        cls, document: Document, own: Arrays, embedder: Embedder, clusterer: Clusterer
    ) -> Clusters:
        """Just fitted."""
        arrays = dict(own)
        for prefix, part in zip(_PARTS, (embedder.arrays(), clusterer.arrays()), strict=True):
            arrays |= {prefix + name: array for name, array in part.items()}
        return cls(document, arrays, lambda: embedder, clusterer)

    @property
    def count(self) -> int:
        """Number of clusters, K."""
        return len(self.document.clusters)

    @property
    def names(self) -> list[str]:
        """The name of each cluster."""
        return [cluster.name for cluster in self.document.clusters]

    @property
    def accuracy(self) -> float | None:
        """Share of the held-out n-grams that the classifier puts into their own cluster."""
        asked = int(self.confusion.sum())
        return int(np.trace(self.confusion)) / asked if asked else None

    @property
    def embedder(self) -> Embedder:
        """Created at first use: it may reach for a model.

        Raises:
            WeightsError: its model cannot be reached.
            ArtifactError: it is not the model that the clusters were made with.
        """
        if self._embedder is None:
            self._embedder = self._make_embedder()
            if self._embedder.width != self.document.width:
                raise ArtifactError(
                    f"the embedder's vectors are {self._embedder.width} wide, those of the"
                    f" clusters {self.document.width}"
                )
        return self._embedder

    @property
    def warnings(self) -> list[str]:
        """What a user must know before trusting them."""
        found = []
        origin = self.document.embedder
        if origin.asked is not None:
            found.append(
                f"clusters: {origin.used['use']} STANDS IN for the embedder"
                f" {origin.asked['use']}: {origin.reason}"
            )
        largest = max(cluster.size for cluster in self.document.clusters)
        share = largest / max(1, len(self.document.texts))
        if self.count > 1 and share > GIANT:
            found.append(
                f"clusters: one of {self.count} holds {share:.0%} of all n-grams, so they tell"
                " little apart; try another embedder, or another number of clusters"
            )
        if self.document.unnamed:
            shown = ", ".join(map(str, self.document.unnamed))
            found.append(
                f"clusters: the classifier never says {shown}: too few n-grams; ask for fewer"
                " clusters or, of nearest neighbours, for fewer of them"
            )
        if self.document.missed:
            found.append(
                "clusters: more n-grams than fit into memory; one that occurs"
                f" {self.document.missed:,} times or less may be missing"
            )
        return found

    def manifest(self) -> dict[str, Any]:
        """What an artifact's manifest says of them, permanently."""
        origin = self.document.embedder
        return {
            "count": self.count,
            "embedder": origin.used,
            "asked": origin.asked,
            "reason": origin.reason,
            "clusterer": self.document.clusterer,
            "ngrams": len(self.document.texts),
            "accuracy": self.accuracy,
            "warnings": self.warnings,
        }

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[N] texts -> [N, width] float32, of length 1 or 0.

        Raises:
            DataError: the embedder gives NaN or infinity.
        """
        vectors = self.embedder.embed(texts)
        if not np.isfinite(vectors).all():
            raise DataError("the embedder gives NaN or infinity", hint="is its model damaged?")
        return vectors

    def predict(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """[N, width] -> [N] int64: the cluster of each vector; ``UNKNOWN`` for the vector 0."""
        found = np.full(len(vectors), UNKNOWN, np.int64)
        known = vectors.any(axis=1)
        if known.any():
            found[known] = self._clusterer.predict(vectors[known])
        return found

    def assign(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """[N] texts -> [N] int64: the cluster of each; ``UNKNOWN`` where nothing is known of it."""
        different = list(dict.fromkeys(texts))
        place = {text: i for i, text in enumerate(different)}
        return self.predict(self.embed(different))[[place[text] for text in texts]]

    def write(self, folder: Path) -> None:
        """Write both files into a folder that exists."""
        from safetensors.numpy import save_file

        arrays = {name: np.ascontiguousarray(array) for name, array in self._arrays.items()}
        save_file(arrays, folder / CLUSTERS)
        text = json.dumps(self.document.model_dump(mode="json"), ensure_ascii=False, indent=1)
        (folder / CLUSTERS_JSON).write_text(text + "\n", encoding="utf-8")


def read(folder: Path, registry: Registry | None = None) -> Clusters:
    """Read the clusters of an artifact, or of a folder of their own. Both files are checked.

    Raises:
        ArtifactError: there are none, they are damaged, or the files do not fit each other.
    """
    if registry is None:
        from engine.core.registry import default_registry

        registry = default_registry()
    for name in (CLUSTERS, CLUSTERS_JSON):
        if not (folder / name).is_file():
            raise ArtifactError(
                f"{folder} holds no clusters: {name} is missing",
                hint="`engine cluster fit CONFIG`, or `engine build` of a config with a section"
                " `clusters`, writes them",
            )
    document = _read_document(folder / CLUSTERS_JSON)
    arrays = _read_arrays(folder / CLUSTERS)
    with _damaged(folder):
        _check(document, arrays)
        embedder_use = _use(EmbedderRef, document.embedder.used, registry)
        clusterer: Clusterer = _use(ClustererRef, document.clusterer, registry).create()
        clusterer.load_arrays(_part(arrays, "clusterer."))
        _check_clusterer(clusterer, document)

    def embedder() -> Embedder:
        made: Embedder = embedder_use.create()
        with _damaged(folder):
            made.load_arrays(_part(arrays, "embedder."))
        return made

    return Clusters(document, arrays, embedder, clusterer)


@contextlib.contextmanager
def _damaged(folder: Path) -> Iterator[None]:
    """Name the folder in errors; what a plugin raises on arrays that it did not write is one."""
    try:
        yield
    except EngineError as error:
        raise ArtifactError(f"{folder}: {error.message}", hint=error.hint) from error
    except Exception as error:  # the plugins' libraries raise anything (faiss: AssertionError)
        raise ArtifactError(
            f"{folder}: its clusters are damaged ({type(error).__name__}: {one_line(str(error))})"
        ) from error


def _check_clusterer(clusterer: Clusterer, document: Document) -> None:
    """Raise ArtifactError where the clusterer is not the one of the document."""
    count = len(document.clusters)
    if clusterer.count != count:
        raise ArtifactError(
            f"the clusterer has {clusterer.count} clusters, {CLUSTERS_JSON} names {count}"
        )
    vector = np.full((1, document.width), document.width**-0.5, np.float32)
    found = clusterer.predict(vector)
    if found.shape != (1,) or not 0 <= found[0] < count:
        raise ArtifactError("the clusterer gives clusters that there are not")


def _read_document(path: Path) -> Document:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_JSON + 1)
        if len(data) > MAX_JSON:
            raise ArtifactError(f"{path} is longer than {MAX_JSON:,} bytes")
        return Document.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = one_line(".".join(map(str, first["loc"]))) or "the file"
        raise ArtifactError(f"{path} is damaged: {place}: {first['msg']}") from error


def _read_arrays(path: Path) -> Arrays:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays: Arrays = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ArtifactError(f"{path}: not a whole safetensors file ({error})") from error
    for name in arrays:
        if name not in _OWN and not name.startswith(_PARTS):
            raise ArtifactError(f"{path}: unknown array `{name}`")
    for name, dtype in _OWN.items():
        if name not in arrays or arrays[name].dtype != dtype:
            raise ArtifactError(f"{path}: array `{name}` is missing, or of another type")
    return arrays


def _check(document: Document, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Raise ArtifactError where document and arrays do not fit each other."""
    texts, count = len(document.texts), len(document.clusters)
    points, width = arrays["map_rows"].size, arrays["map_components"].shape[-1:]
    shapes = {"labels": (texts,), "counts": (texts,), "confusion": (count, count),
              "map_rows": (points,), "map_components": (points, *width)}  # fmt: skip
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ArtifactError(f"array `{name}` has shape {arrays[name].shape}, expected {shape}")
    for name, above in (("labels", count), ("map_rows", texts)):
        if arrays[name].size and not 0 <= arrays[name].min() <= arrays[name].max() < above:
            raise ArtifactError(f"array `{name}` holds numbers beyond {above - 1}")
    sizes = np.bincount(arrays["labels"], minlength=count).tolist()
    if sizes != [cluster.size for cluster in document.clusters]:
        raise ArtifactError("the sizes of the clusters are not those of the labels")
    for name, minimum in (("counts", 1), ("confusion", 0)):
        if (
            not minimum
            <= arrays[name].min(initial=minimum)
            <= arrays[name].max(initial=minimum)
            < (_MAX_COUNTED)
        ):
            raise ArtifactError(f"array `{name}` holds impossible numbers")
    if not (np.abs(arrays["map_components"]) <= _LARGEST_COMPONENT).all():
        raise ArtifactError("the map holds impossible numbers")
    if beyond := [number for number in document.unnamed if number >= count]:
        raise ArtifactError(f"`unnamed` holds {beyond[0]}, and there are {count} clusters")


def _part(arrays: Arrays, prefix: str) -> Arrays:
    return {k.removeprefix(prefix): a for k, a in arrays.items() if k.startswith(prefix)}


def _use(kind: Any, mapping: dict[str, Any], registry: Registry) -> PluginRef:
    try:
        use = TypeAdapter(kind).validate_python(mapping, context={"registry": registry})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ArtifactError(f"{CLUSTERS_JSON} cannot be used here: {first['msg']}") from error
    assert isinstance(use, PluginRef)
    return use
