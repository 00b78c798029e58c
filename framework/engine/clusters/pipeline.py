"""The pipeline: n-grams, the most frequent of them, vectors, clusters, a classifier of them.

Source: the contest entry (github.com/SkylarPro/YandexCupCV).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.clusters.document import Cluster, Document, EmbedderOrigin
from engine.clusters.flatten import compact
from engine.clusters.names import name_of, telling_terms
from engine.clusters.ngrams import Texts, most_frequent
from engine.clusters.store import Clusters
from engine.contracts.refs import EmbedderRef
from engine.core.config.schema import ClustersSettings, EngineConfig, count_misfit
from engine.core.progress import Progress, silent
from engine.core.sources import UnreachableError
from engine.errors import ConfigError, DataError

if TYPE_CHECKING:
    from engine.contracts.clustering import Clusterer, Embedder

_log = logging.getLogger(__name__)

TYPICAL = 8
"""Typical texts of a cluster that are kept."""

_TEXTS_AT_ONCE = 2048
_SMALL = 50


def fit(config: EngineConfig, progress: Progress = silent) -> Clusters:
    """Fit the clusters of a config on the queries of its ``data.train``.

    Raises:
        ConfigError: the config has no ``clusters``, or the number that was chosen is not that of
            the text projection.
        DataError: no training data, or too few different texts for the clusters.
        WeightsError: the embedder's model cannot be reached, and nothing may stand in.
    """
    if config.clusters is None:
        raise ConfigError(
            f"{config.name}: the config has no section `clusters`",
            hint="for example `clusters: {embedder: {use: NAME}, clusterer: {use: NAME}}`"
            " (`engine plugins embedder` and `engine plugins clusterer` list the names)",
        )
    if config.data.train is None:
        raise DataError(
            f"{config.name}: clusters are found among queries, and `data.train` names no data set",
            hint="for example `--set data.train='{use: NAME, path: MY_DATA}'`",
        )
    dataset = config.data.train.create()
    clusters = fit_texts(config.clusters, dataset.texts, progress)
    if (misfit := count_misfit(config.model, clusters.count)) is not None:
        raise ConfigError(
            f"{config.name}: the clusterer chose {misfit}",
            hint=f"set model.projection.text.count to {clusters.count}, or give"
            " clusters.clusterer.count in place of `auto`",
        )
    return clusters


def fit_texts(settings: ClustersSettings, texts: Texts, progress: Progress = silent) -> Clusters:
    """Fit clusters on any texts.

    Args:
        settings: the numbers of every step.
        texts: gives the texts, the same ones at every call.
        progress: receives lines of progress.

    Raises:
        DataError: no words, too few different texts, or an embedder that gives NaN.
        WeightsError: see :func:`fit`.
    """
    progress("n-grams")
    grams = most_frequent(texts, settings.ngram, settings.most_frequent, progress)
    embedder, origin = make_embedder(settings.embedder, progress)
    progress(f"{origin.used['use']}: learning from {len(grams.texts):,} n-grams")
    embedder.fit(grams.texts)
    vectors = _embed(embedder, grams.texts, progress)
    known = np.flatnonzero(vectors.any(axis=1))  # of the rest the embedder knows nothing
    vectors, names = vectors[known], [grams.texts[i] for i in known]
    clusterer: Clusterer = settings.clusterer.create()
    progress(f"{settings.clusterer.name}: {len(vectors):,} vectors")
    labels = clusterer.cluster(vectors)
    progress("evaluating on held-out n-grams")
    confusion = _held_out(clusterer, vectors, labels, settings.held_out)
    clusterer.learn(vectors, labels)
    rows, components = compact(vectors, labels)
    progress("names")
    counts = np.array(grams.counts, np.int64)[known]
    return Clusters.of(
        Document(
            ngram=settings.ngram,
            most_frequent=settings.most_frequent,
            held_out=settings.held_out,
            embedder=origin,
            clusterer=settings.clusterer.to_config(),
            width=embedder.width,
            read=grams.read,
            distinct=grams.distinct,
            missed=grams.missed,
            unknown=len(grams.texts) - len(known),
            unnamed=_unnamed(clusterer, vectors, labels),
            scores={str(number): score for number, score in clusterer.scores.items()},
            clusters=_describe(names, counts, vectors, labels, clusterer.count, settings.ngram),
            texts=names,
        ),
        {
            "labels": labels,
            "counts": counts,
            "confusion": confusion,
            "map_rows": rows,
            "map_components": components,
        },
        embedder,
        clusterer,
    )


def make_embedder(ref: EmbedderRef, progress: Progress = silent) -> tuple[Embedder, EmbedderOrigin]:
    """The embedder, or the one that its settings name for when its model cannot be reached.

    Raises:
        UnreachableError: it cannot be reached, and there is none to stand in.
    """
    settings = ref.settings
    try:
        return ref.create(), EmbedderOrigin(used=ref.to_config())
    except UnreachableError as error:
        if settings.otherwise is None:
            raise
        _log.warning("%s: %s; %s stands in", ref.name, error.message, settings.otherwise.name)
        embedder, origin = make_embedder(settings.otherwise, progress)
        reasons = [error.message, origin.reason]
        reason = "; ".join(reason for reason in reasons if reason)
        return embedder, EmbedderOrigin(used=origin.used, asked=ref.to_config(), reason=reason)


def _embed(embedder: Embedder, texts: Sequence[str], progress: Progress) -> NDArray[np.float32]:
    parts = []
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        progress("vectors of n-grams", start, len(texts))
        some = texts[start : start + _TEXTS_AT_ONCE]
        part = embedder.embed(some)
        bad = np.flatnonzero(~np.isfinite(part).all(axis=1))
        if len(bad):
            raise DataError(
                f"the embedder gives NaN or infinity for {some[bad[0]]!r} and"
                f" {len(bad) - 1} more of {len(some)} texts",
                hint="its weights may be damaged; fetch them again, or use another embedder",
            )
        parts.append(part)
    return np.concatenate(parts)


def _held_out(
    clusterer: Clusterer, vectors: NDArray[np.float32], labels: NDArray[np.int64], share: float
) -> NDArray[np.int64]:
    """[K, K]: how many held-out vectors of each cluster (row) were put into which (column).

    The classifier learns from the others only. All zero where nothing is held out.
    """
    confusion = np.zeros((clusterer.count, clusterer.count), np.int64)
    number = min(round(share * len(vectors)), len(vectors) - 1)
    if number < 1:
        return confusion
    order = np.random.default_rng(0).permutation(len(vectors))
    held, kept = order[:number], order[number:]
    clusterer.learn(vectors[kept], labels[kept])
    np.add.at(confusion, (labels[held], clusterer.predict(vectors[held])), 1)
    return confusion


def _unnamed(
    clusterer: Clusterer, vectors: NDArray[np.float32], labels: NDArray[np.int64]
) -> list[int]:
    """Small clusters that the classifier does not even give to their own vectors."""
    sizes = np.bincount(labels, minlength=clusterer.count)
    small = [int(label) for label in np.flatnonzero(sizes < _SMALL)]
    return [k for k in small if not (clusterer.predict(vectors[labels == k]) == k).any()]


def _describe(
    texts: Sequence[str],
    counts: NDArray[np.int64],
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    count: int,
    ngram: int,
) -> list[Cluster]:
    """Name, size and typical texts of each cluster."""
    terms = telling_terms(texts, labels, count, ngram)
    found, taken = [], set()
    for label in range(count):
        own = np.flatnonzero(labels == label)
        near = vectors[own] @ vectors[own].mean(axis=0)
        typical = [texts[own[i]] for i in np.argsort(-near, kind="stable")[:TYPICAL]]
        name = name_of(terms[label], typical)
        if name in taken:
            name = f"{name} ({label})"
        taken.add(name)
        occurrences = int(counts[own].sum())
        found.append(
            Cluster(name=name, terms=terms[label], typical=typical, size=len(own),
                    occurrences=occurrences)
        )  # fmt: skip
    return found
