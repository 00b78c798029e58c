"""Clusters as one HTML page: a map of the texts, names, sizes, typical texts, what is confused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.clusters.flatten import flatten
from engine.clusters.store import Clusters
from engine.report import about, percent, render
from engine.report.chart import Chart
from engine.report.charts import Border, Dots, Series, line_chart, scatter_chart

WIDTH, HEIGHT = 1000, 600
"""Of the map, in pixels."""

TABLE = 40
"""Clusters above which the table of mistakes gives way to the list of the worst."""

WORST = 8
"""Pairs of clusters in that list."""

_LABEL = 24


def page_of(clusters: Clusters, title: str) -> str:
    """The page.

    Args:
        clusters: fitted.
        title: whose they are: the name of a model or a folder.
    """
    document = clusters.document
    accuracy = clusters.accuracy
    rows = len(document.texts)
    shown = len(clusters.map_rows)
    return render(
        "engine.clusters/page.html",
        title=f"{title}: clusters",
        kind="Clusters of meaning",
        name=title,
        facts=[
            ("clusters", f"{clusters.count}"),
            ("n-grams", f"{rows:,} of {document.distinct:,}"),
            ("queries read", f"{document.read:,}"),
            ("embedder", str(document.embedder.used["use"])),
            ("clusterer", str(document.clusterer["use"])),
            ("held out, classified right", "–" if accuracy is None else percent(accuracy)),
            ("held out, by chance", percent(1 / clusters.count)),
        ],
        warnings=clusters.warnings,
        about=about(
            config=_config(clusters),
            data=[f"{document.read:,} queries, {document.distinct:,} different n-grams"],
            packages=["scikit-learn", "numpy"],
            notes=[_NOTE],
        ),
        colours=[colour(i) for i in range(clusters.count)],
        map_note=f"{shown:,} n-grams" if shown == rows else f"{shown:,} of {rows:,} n-grams",
        map=_map(clusters),
        clusters=[_card(clusters, i) for i in range(clusters.count)],
        mistakes=_mistakes(clusters),
        scores=_scores(clusters),
        count=clusters.count,
    )


def colour(index: int) -> str:
    """Of a cluster: by the golden angle, so that neighbours in number differ most."""
    lightness = (0.62, 0.74)[index % 2]
    return f"oklch({lightness} 0.16 {(25 + 137.508 * index) % 360:.1f})"


_NOTE = (
    "An n-gram's place on the map is t-SNE's: neighbours are alike, distances and sizes of clouds"
    " mean little. Terms are those that stand in a cluster surely more often than elsewhere"
    " (log-odds ratio); typical texts are nearest to the cluster's middle. Held-out n-grams were"
    " kept from the classifier that was evaluated; the classifier in use has learned from all."
)


def _config(clusters: Clusters) -> str:
    """The settings of the fit, as in a config."""
    document = clusters.document
    settings = {
        "embedder": document.embedder.used, "clusterer": document.clusterer,
        "ngram": document.ngram, "most_frequent": document.most_frequent,
        "held_out": document.held_out,
    }  # fmt: skip
    return json.dumps(settings, ensure_ascii=False)[1:-1].replace('"', "")


def _map(clusters: Clusters) -> Chart:
    rows, places = clusters.map_rows, flatten(clusters.map_components)
    labels = clusters.labels[rows]
    radius = 3.2 if len(rows) > 500 else 5.0
    groups = []
    for i in range(clusters.count):
        own = labels == i
        texts = [clusters.document.texts[row] for row in rows[own]]
        x, y = places[own, 0], -places[own, 1]
        points = list(zip(x.tolist(), y.tolist(), strict=True))
        groups.append(
            Dots("", points, titles=texts, labels=_labels(clusters, i, places[own]), kind=f"k{i}",
                  colour=colour(i), radius=radius, opacity=0.72)
        )  # fmt: skip
    return scatter_chart(
        groups, label="map of the n-grams, coloured by cluster", bare=True, width=WIDTH,
        height=HEIGHT,
    )  # fmt: skip


def _labels(clusters: Clusters, index: int, points: np.ndarray) -> list[str]:
    """A cluster's name at its dot nearest to the middle of its dots, nothing at the others."""
    if not len(points):
        return []
    middle = np.median(points, axis=0)
    cluster = clusters.document.clusters[index]
    labels = [""] * len(points)
    nearest = int(((points - middle) ** 2).sum(axis=1).argmin())
    labels[nearest] = _short(cluster.terms[0] if cluster.terms else cluster.name)
    return labels


def _card(clusters: Clusters, index: int) -> dict[str, Any]:
    cluster = clusters.document.clusters[index]
    return {
        "name": cluster.name,
        "share": cluster.size / len(clusters.document.texts),
        "size": cluster.size,
        "occurrences": cluster.occurrences,
        "terms": cluster.terms,
        "typical": cluster.typical,
    }


def _mistakes(clusters: Clusters) -> dict[str, Any] | None:
    """What the classifier did with held-out n-grams."""
    asked = int(clusters.confusion.sum())
    if not asked:
        return None
    return {
        "asked": asked,
        "wrong": asked - int(np.trace(clusters.confusion)),
        "names": clusters.names,
        "table": _table(clusters) if clusters.count <= TABLE else [],
        "worst": _worst(clusters),
    }


def _table(clusters: Clusters) -> list[list[tuple[int, float]]]:
    """Each cell: how many, and how deep its colour is (0 to 100)."""
    return [
        # by the root of the share, so that single mistakes can be seen
        [(value, 100 * (value / max(1, sum(row))) ** 0.5) for value in row]
        for row in clusters.confusion.tolist()
    ]


def _worst(clusters: Clusters) -> list[tuple[int, str, str]]:
    """The most frequent mistakes: how often, the right cluster, the answer."""
    wrong = clusters.confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:WORST]
    names = clusters.names
    return [
        (count, names[own], names[answer])
        for place in order
        if (count := int(wrong.flat[place]))
        for own, answer in [divmod(int(place), clusters.count)]
    ]


def _scores(clusters: Clusters) -> Chart | None:
    """The curve from which the number of clusters was chosen."""
    scores = sorted((int(number), score) for number, score in clusters.document.scores.items())
    if len(scores) < 2:
        return None
    return line_chart(
        [Series("", scores)], label="score by number of clusters", x="clusters",
        y="mean silhouette", borders=[Border(clusters.count, f"{clusters.count}")],
        width=700, height=230,
    )  # fmt: skip


def _short(value: str, longest: int = _LABEL) -> str:
    return value if len(value) <= longest else value[: longest - 1].rstrip() + "…"


def table_rows(clusters: Clusters) -> Sequence[tuple[str, ...]]:
    """For a terminal: number, name, n-grams, share, occurrences, right when held out, typical."""
    rows = []
    for i, cluster in enumerate(clusters.document.clusters):
        asked = int(clusters.confusion[i].sum())
        right = f"{clusters.confusion[i, i] / asked:.0%}" if asked else "-"
        share = f"{cluster.size / len(clusters.document.texts):.1%}"
        rows.append(
            (str(i), cluster.name, f"{cluster.size:,}", share, f"{cluster.occurrences:,}", right,
             "; ".join(cluster.typical[:3]))
        )  # fmt: skip
    return rows
