"""From texts to clusters, and everything that may be wrong with texts, vectors and settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.clusters import Clusters, fit, fit_texts
from engine.clusters.pipeline import make_embedder
from engine.contracts import Embedder, EmbedderSettings, PluginRef
from engine.contracts.hooks import Plugin
from engine.core.config import load_config
from engine.core.config.schema import ClustersSettings, DataSettings
from engine.core.sources import UnreachableError
from engine.errors import ConfigError, DataError

Make = Callable[..., ClustersSettings]


class Broken(Embedder):
    """Gives NaN for texts with an `x`."""

    width = 4

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.eye(4, dtype=np.float32)[[len(text) % 4 for text in texts]]
        vectors[["x" in text for text in texts]] = np.nan
        return vectors


class Away(Embedder):
    """Its model cannot be reached."""

    def __init__(self, settings: EmbedderSettings) -> None:
        raise UnreachableError("hf:nobody/nothing: the hub cannot be reached")

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        raise AssertionError


class Lengths(Embedder):
    """A text's vector is its length, nearly: flags lie far off."""

    width = 2

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        angles = np.array([1.5 if "flag" in text else len(text) / 1e4 for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


class Plain(Plugin):
    """A plugin whose class is at hand."""

    def load(self) -> type[Any]:
        return {"broken": Broken, "away": Away, "lengths": Lengths}[self.name]


def use(name: str, otherwise: PluginRef | None = None) -> PluginRef:
    plugin = Plain("embedder", name, "nowhere:Nothing")
    return PluginRef(plugin, EmbedderSettings.model_construct(otherwise=otherwise))


def test_topics_come_out_apart(clusters: Clusters, topics: dict[str, Sequence[str]]) -> None:
    found = {name: set(clusters.assign(list(texts)).tolist()) for name, texts in topics.items()}
    assert all(len(labels) == 1 for labels in found.values()), found
    assert set.union(*found.values()) == {0, 1, 2}
    sizes = [cluster.size for cluster in clusters.document.clusters]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == len(clusters.document.texts)
    names = {name: clusters.names[labels.pop()] for name, labels in found.items()}
    assert "лиса" in names["звери"]
    assert "пирог" in names["еда"]
    assert "flag" in names["flags"]
    assert clusters.assign(["совсем маленькая лисичка"])[0] == clusters.assign(["лиса"])[0]


def test_same_texts_same_clusters(make_settings: Make, clusters: Clusters) -> None:
    again = fit_texts(make_settings(held_out=0.3), lambda: list(clusters.document.texts))
    # The n-grams, once each, are what was clustered before: only their counts differ.
    order = [again.document.texts.index(text) for text in clusters.document.texts]
    assert (again.labels[order] == clusters.labels).all()


def test_held_out_texts_judge_the_classifier(make_settings: Make, clusters: Clusters) -> None:
    number = round(0.3 * len(clusters.document.texts))
    assert clusters.confusion.sum() == number
    assert clusters.accuracy == np.trace(clusters.confusion) / number
    none = fit_texts(make_settings(held_out=0), lambda: list(clusters.document.texts))
    assert none.confusion.sum() == 0
    assert none.accuracy is None


def test_repeated_and_empty_texts_are_no_burden(make_settings: Make, clusters: Clusters) -> None:
    texts = ["", "  "] * 50 + list(clusters.document.texts) * 3
    again = fit_texts(make_settings(), lambda: texts)
    assert set(again.document.texts) == set(clusters.document.texts)
    assert again.document.read == len(texts)
    assert set(again.counts.tolist()) == {3}


@pytest.mark.parametrize("clusterer", ["agglomerative_knn", "kmeans"])
@pytest.mark.parametrize("texts", [["лиса", "пирог"], ["лиса"] * 100 + ["пирог"] * 100])
def test_fewer_texts_than_clusters(make_settings: Make, clusterer: str, texts: list[str]) -> None:
    with pytest.raises(DataError, match="2 vectors: too few for 3 clusters"):
        fit_texts(make_settings(clusterer={"use": clusterer, "count": 3}), lambda: texts)


@pytest.mark.parametrize("clusterer", ["agglomerative_knn", "kmeans"])
def test_texts_that_are_alike_to_the_embedder(make_settings: Make, clusterer: str) -> None:
    """Different words, the same character n-grams: fewer vectors than texts."""
    texts = ["аа бб", "бб аа", "аа  бб вв", "бб вв аа", "вв аа бб"]
    settings = make_settings(
        clusterer={"use": clusterer, "count": 3}, embedder={"use": "tfidf_svd", "longest": 2}
    )
    with pytest.raises(DataError, match=r"5 vectors, and only \d of them differ"):
        fit_texts(settings, lambda: texts)


def test_no_text_at_all(make_settings: Make) -> None:
    with pytest.raises(DataError, match="no n-grams to cluster"):
        fit_texts(make_settings(), list)


def test_one_giant_cluster_is_warned_of(make_settings: Make) -> None:
    texts = ["а" * i for i in range(1, 31)]
    settings = make_settings(clusterer={"use": "agglomerative_knn", "count": 2})
    settings = settings.model_copy(update={"embedder": use("lengths")})
    found = fit_texts(settings, lambda: [*texts, "flag"])
    assert sorted(c.size for c in found.document.clusters) == [1, 30]
    assert any("holds 97%" in warning for warning in found.warnings)
    # Of its four nearest neighbours, three are of the giant: no vote can name the other.
    assert found.assign(["flag", texts[0]]).tolist() == [0, 0]
    assert any("never says 1" in warning for warning in found.warnings)
    one = make_settings(clusterer={"use": "agglomerative_knn", "count": 2, "neighbours": 1})
    found = fit_texts(one.model_copy(update={"embedder": use("lengths")}), lambda: [*texts, "flag"])
    assert found.assign(["flag", texts[0]]).tolist() == [1, 0]
    assert not any("never says" in warning for warning in found.warnings)


def test_nan_is_reported_with_its_text(make_settings: Make) -> None:
    settings = make_settings().model_copy(update={"embedder": use("broken")})
    with pytest.raises(DataError, match="NaN or infinity for 'axb'"):
        fit_texts(settings, lambda: ["a", "bb", "axb", "dddd"])


def test_another_embedder_stands_in_and_says_so(
    make_settings: Make, caplog: pytest.LogCaptureFixture
) -> None:
    standing_in = make_settings().embedder
    settings = make_settings().model_copy(
        update={"embedder": use("away", use("away", standing_in))}
    )
    found = fit_texts(settings, lambda: ["лиса", "пирог", "flag", "flags"])
    origin = found.document.embedder
    assert origin.used == standing_in.to_config()
    assert origin.asked is not None
    assert origin.asked["use"] == "away"
    assert origin.reason.count("the hub cannot be reached") == 2
    assert "tfidf_svd STANDS IN for the embedder away" in found.warnings[0]
    assert found.manifest()["asked"]["use"] == "away"
    assert any("stands in" in line for line in caplog.messages)
    with pytest.raises(UnreachableError, match="cannot be reached"):
        make_embedder(use("away"))


def test_the_number_of_clusters_by_a_score(make_settings: Make, clusters: Clusters) -> None:
    auto = {"use": "agglomerative_knn", "count": "auto", "min_clusters": 2, "max_clusters": 6}
    found = fit_texts(make_settings(clusterer=auto), lambda: list(clusters.document.texts))
    assert set(found.document.scores) == {"2", "3", "4", "5", "6"}
    best = max(found.document.scores, key=lambda key: found.document.scores[key])
    assert found.count == int(best)


def test_a_config_without_clusters_or_data(root: Path) -> None:
    with pytest.raises(ConfigError, match="no section `clusters`"):
        fit(load_config(root / "configs" / "tiny" / "sber.yaml"))
    config = load_config(root / "configs" / "tiny" / "sber_cluster.yaml").model_copy(
        update={"data": DataSettings()}
    )
    with pytest.raises(DataError, match=r"`data\.train` names no data set"):
        fit(config)


def test_clusters_and_projections_must_be_as_many(root: Path) -> None:
    path = root / "configs" / "tiny" / "sber_cluster.yaml"
    with pytest.raises(ConfigError, match=r"9 clusters, and model\.projection\.text") as caught:
        load_config(path, ["clusters.clusterer.count=9"])
    assert "10 projections" in str(caught.value)
    same = load_config(path, ["clusters.clusterer.count=9", "model.projection.text.count=9"])
    assert same.clusters is not None
    chosen = load_config(
        path,
        [
            "clusters.clusterer.count=auto",
            "clusters.clusterer.max_clusters=3",
            "data.train.count=20",
        ],
    )
    with pytest.raises(ConfigError, match=r"the clusterer chose [23] clusters"):
        fit(chosen)
