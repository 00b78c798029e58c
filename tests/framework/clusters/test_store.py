"""The two files: what was written is read, and files from anybody are checked."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from engine.clusters import Clusters, fit_texts, read
from engine.clusters.report import page_of
from engine.core.artifact import CLUSTERS, CLUSTERS_JSON
from engine.core.config.schema import ClustersSettings
from engine.errors import ArtifactError, EngineError


def change_json(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    document = json.loads((folder / CLUSTERS_JSON).read_text(encoding="utf-8"))
    change(document)
    (folder / CLUSTERS_JSON).write_text(json.dumps(document), encoding="utf-8")


def change_arrays(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    arrays = load_file(folder / CLUSTERS)
    change(arrays)
    save_file(arrays, folder / CLUSTERS)


def test_what_was_written_is_read(clusters: Clusters, tmp_path: Path) -> None:
    clusters.write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [CLUSTERS_JSON, CLUSTERS]
    again = read(tmp_path)
    assert again.document == clusters.document
    assert again.manifest() == clusters.manifest()
    assert (again.labels == clusters.labels).all()
    assert (again.confusion == clusters.confusion).all()
    texts = [*clusters.document.texts, "лисёнок", "a new flag", "", "щщщ", "лисёнок"]
    assert (again.embed(texts) == clusters.embed(texts)).all()
    assert again.assign(texts).tolist() == clusters.assign(texts).tolist()
    again.write(tmp_path)
    assert (read(tmp_path).labels == clusters.labels).all()


def test_kmeans_too(make_settings: Callable[..., ClustersSettings], tmp_path: Path) -> None:
    texts = ["лиса", "лисы", "пирог", "пироги", "flag", "flags"]
    fitted = fit_texts(make_settings(clusterer={"use": "kmeans", "count": 3}), lambda: texts)
    fitted.write(tmp_path)
    assert read(tmp_path).assign(texts).tolist() == fitted.assign(texts).tolist()


def test_what_nothing_is_known_of_has_no_cluster(clusters: Clusters) -> None:
    assert clusters.assign(["", "   ", "щщщ", "лиса"]).tolist()[:3] == [-1, -1, -1]
    assert clusters.assign(["лиса"])[0] >= 0
    assert clusters.assign([]).tolist() == []


@pytest.mark.parametrize("name", [CLUSTERS, CLUSTERS_JSON])
def test_no_clusters(clusters: Clusters, tmp_path: Path, name: str) -> None:
    clusters.write(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        read(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", "null", "[" * 100_000, '{"format": 2}', b"\xff\xfe{"]
)
def test_json_that_is_none_of_ours(clusters: Clusters, tmp_path: Path, text: str | bytes) -> None:
    clusters.write(tmp_path)
    data = text if isinstance(text, bytes) else text.encode()
    (tmp_path / CLUSTERS_JSON).write_bytes(data)
    with pytest.raises(ArtifactError, match="damaged"):
        read(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(surprise=1),
        lambda d: d.update(width="16"),
        lambda d: d.update(texts=d["texts"][1:]),
        lambda d: d["clusters"].pop(),
        lambda d: d["clusters"][0].update(size=1),
        lambda d: d["clusters"][0].update(size=-1),
        lambda d: d["embedder"]["used"].update(use="os.system"),
        lambda d: d["embedder"]["used"].update(width="many"),
        lambda d: d.update(clusterer={"use": "kmeans", "count": 3}),
        lambda d: d.update(clusterer={}),
    ],
)
def test_a_changed_document(
    clusters: Clusters, tmp_path: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    clusters.write(tmp_path)
    change_json(tmp_path, change)
    with pytest.raises(ArtifactError):
        read(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.pop("labels"),
        lambda a: a.update(labels=a["labels"].astype(np.float32)),
        lambda a: a.update(labels=a["labels"][:-1].copy()),
        lambda a: a.update(labels=a["labels"] + 1),
        lambda a: a.update(counts=a["counts"][None].copy()),
        lambda a: a.update(confusion=-a["confusion"]),
        lambda a: a.update(map_rows=a["map_rows"] + 1000),
        lambda a: a["map_components"].fill(np.nan),
        lambda a: a.update(surprise=a["labels"]),
        lambda a: a.pop("clusterer.vectors"),
        lambda a: a["clusterer.vectors"].fill(np.inf),
        lambda a: a["clusterer.labels"].fill(-1),
        lambda a: a["clusterer.labels"].fill(7),
        lambda a: a["clusterer.count"].fill(4),
    ],
)
def test_changed_arrays(
    clusters: Clusters, tmp_path: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    clusters.write(tmp_path)
    change_arrays(tmp_path, change)
    with pytest.raises(ArtifactError):
        read(tmp_path)


@pytest.mark.parametrize("cut", [0, 4, 100, -1])
def test_a_file_cut_short(clusters: Clusters, tmp_path: Path, cut: int) -> None:
    clusters.write(tmp_path)
    data = (tmp_path / CLUSTERS).read_bytes()
    (tmp_path / CLUSTERS).write_bytes(data[:cut])
    with pytest.raises(ArtifactError, match="not a whole safetensors file"):
        read(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.pop("embedder.idf"),
        lambda a: a["embedder.idf"].fill(np.nan),
        lambda a: a["embedder.vocabulary"].fill(255),
        lambda a: a["embedder.vocabulary"].fill(ord("a")),
        lambda a: a.update({"embedder.components": a["embedder.components"][:-1].copy()}),
    ],
)
def test_a_changed_embedder_is_reported_when_it_is_needed(
    clusters: Clusters, tmp_path: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    clusters.write(tmp_path)
    change_arrays(tmp_path, change)
    found = read(tmp_path)  # to look at clusters, no embedder is needed
    with pytest.raises(ArtifactError):
        found.assign(["лиса"])


ODD: list[Any] = [
    None, True, -1, 0, 1, 3, 2**31, 2**53, 2**63, 10**300, 0.5, 1e308, "", "x", "\x1b[31m", [], [3],
    ["x"], [[]], {}, {"use": "kmeans"}, {"use": 3}, {"use": "tfidf_svd", "width": 10**30}, {"1": 2},
    {"x": 0.5}, {"999999999999": 0.5},
]  # fmt: skip


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a document; of lists the first item."""
    if place:
        yield place
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*place, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value[:1]):
            yield from places(inner, (*place, index))


def put(document: Any, place: tuple[Any, ...], value: Any) -> None:
    for key in place[:-1]:
        document = document[key]
    document[place[-1]] = value


def use(found: Clusters) -> None:
    """Everything that is done with clusters that were read."""
    json.dumps(found.manifest(), allow_nan=False).encode()
    assert all(isinstance(line, str) for line in [*found.warnings, *found.names])
    assert found.accuracy is None or 0 <= found.accuracy <= 1
    page_of(found, "title").encode()
    found.assign(["лиса", ""])


def test_any_value_of_another_type_at_any_place(
    clusters: Clusters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Either it is refused when it is read, or the clusters work."""
    monkeypatch.setattr("engine.clusters.report._map", lambda clusters: "")  # t-SNE takes a second
    clusters.write(tmp_path)
    whole = json.loads((tmp_path / CLUSTERS_JSON).read_text(encoding="utf-8"))
    refused = kept = longest = 0
    for place in places(whole):
        for value in ODD:
            document = copy.deepcopy(whole)
            put(document, place, value)
            (tmp_path / CLUSTERS_JSON).write_text(json.dumps(document), encoding="utf-8")
            try:
                use(read(tmp_path))
                kept += 1
            except EngineError as error:
                refused += 1
                longest = max(longest, len(error.message))
    assert refused > 10 * kept > 0
    assert longest < 1000


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_json_does_not_have(clusters: Clusters, tmp_path: Path, text: str) -> None:
    clusters.write(tmp_path)
    document = json.loads((tmp_path / CLUSTERS_JSON).read_text(encoding="utf-8"))
    document["scores"] = {"3": "HERE"}
    whole = json.dumps(document).replace('"HERE"', text)
    (tmp_path / CLUSTERS_JSON).write_text(whole, encoding="utf-8")
    with pytest.raises(ArtifactError, match="damaged"):
        read(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a["counts"].fill(0),
        lambda a: a["counts"].fill(-5),
        lambda a: a["counts"].fill(2**62),
        lambda a: a["confusion"].fill(2**62),
        lambda a: a["map_components"].fill(3e38),
        lambda a: a.update({"clusterer.vectors": np.pad(a["clusterer.vectors"], ((0, 0), (0, 3)))}),
        lambda a: a.update({"clusterer.vectors": a["clusterer.vectors"][:, :-1].copy()}),
        lambda a: a.update({"clusterer.vectors": a["clusterer.vectors"].T.copy()}),
    ],
)
def test_arrays_that_hold_impossible_numbers(
    clusters: Clusters, tmp_path: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    clusters.write(tmp_path)
    change_arrays(tmp_path, change)
    with pytest.raises(ArtifactError):
        read(tmp_path)
