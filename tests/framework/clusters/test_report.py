"""The page: everything on it, nothing from outside, and no foreign text as HTML."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser

import numpy as np
import pytest

from engine.clusters import Clusters, fit_texts
from engine.clusters.flatten import POINTS, compact, flatten
from engine.clusters.report import page_of, table_rows
from engine.core.config.schema import ClustersSettings
from engine.report import percent

HOSTILE = ["<script>alert(1)</script>", 'a" onload="x', "</title></svg><b>", "\u202eabc", "лиса"]


class Parsed(HTMLParser):
    """Tags with their attributes; whether they close as they should."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "input", "line", "path", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_everything_is_on_the_page(clusters: Clusters) -> None:
    page = page_of(clusters, "mine")
    parsed = Parsed(page)
    assert parsed.open == []
    for cluster in clusters.document.clusters:
        for text in (cluster.name, *cluster.terms, *cluster.typical):
            assert text in page
    assert parsed.tags.count("use") == len(clusters.document.texts)  # the dots of the map
    assert parsed.tags.count("title") == 1 + len(clusters.document.texts)
    assert parsed.tags.count("svg") == 1
    assert parsed.tags.count("td") == 9
    assert percent(clusters.accuracy or 0) in page
    for word in ("config", "embedder", "data", "versions", "engine"):
        assert word in page.partition("<footer>")[2]
    assert "http" not in re.sub(r'http-equiv="[^"]*"', "", page)
    assert "script" not in parsed.tags


@pytest.mark.parametrize("clusterer", ["agglomerative_knn", "kmeans"])
def test_hostile_texts(make_settings: Callable[..., ClustersSettings], clusterer: str) -> None:
    settings = make_settings(
        clusterer={"use": clusterer, "count": "auto", "min_clusters": 2, "max_clusters": 4},
        held_out=0.5,
    )
    page = page_of(fit_texts(settings, lambda: HOSTILE * 2), "<i>name</i>")
    parsed = Parsed(page)
    assert parsed.open == []
    assert not {"script", "i>", "b"} & set(parsed.tags) - {"b"}
    assert "onload" not in [name for name, _ in parsed.attributes]
    assert "<i>name" not in page
    assert "\u202e" not in page
    assert "was chosen" in page
    assert parsed.tags.count("svg") == 2


def test_a_line_a_cluster_for_the_terminal(clusters: Clusters) -> None:
    rows = table_rows(clusters)
    assert [row[0] for row in rows] == ["0", "1", "2"]
    assert sum(int(row[2]) for row in rows) == len(clusters.document.texts)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 40])
@pytest.mark.parametrize("width", [1, 2, 8])
def test_a_map_of_any_number_of_vectors(count: int, width: int) -> None:
    vectors = np.random.default_rng(0).standard_normal((count, width)).astype(np.float32)
    for some in (vectors, np.ones_like(vectors)):
        rows, components = compact(some, np.zeros(count, np.int64))
        places = flatten(components)
        assert rows.tolist() == list(range(count))
        assert places.shape == (count, 2)
        assert np.isfinite(places).all()
        assert 0 <= places.min() <= places.max() <= 1


def test_the_map_shows_every_cluster() -> None:
    labels = np.array([0] * 5000 + [1] * 3 + [2], np.int64)
    vectors = np.random.default_rng(0).standard_normal((len(labels), 4)).astype(np.float32)
    rows, components = compact(vectors, labels)
    assert set(labels[rows]) == {0, 1, 2}
    assert len(rows) == len(components) <= POINTS + 3
    assert (np.diff(rows) > 0).all()
