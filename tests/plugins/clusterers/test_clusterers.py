"""Both clusterers: the contract, bad vectors, and scikit-learn as the oracle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score, silhouette_score
from sklearn.neighbors import KNeighborsClassifier

from engine.contracts import Clusterer, PluginRef
from engine.errors import ArtifactError, ConfigError, DataError
from engine_plugins.clusterers.agglomerative_knn import (
    COLUMNS,
    ROWS,
    AgglomerativeKnn,
    condensed_distances,
    cut,
)
from engine_plugins.clusterers.choose import by_size, silhouettes
from engine_plugins.clusterers.neighbours import nearest, vote

Vectors = NDArray[np.float32]
MakeUse = Callable[..., PluginRef]
BOTH = pytest.mark.parametrize("name", ["agglomerative_knn", "kmeans"])


def unit(vectors: NDArray[Any]) -> Vectors:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(length, 1e-12)).astype(np.float32)


def clouds(count: int, width: int = 16, groups: int = 6, seed: int = 0) -> Vectors:
    """Overlapping clouds on the sphere."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((groups, width))
    return unit(
        centres[random.integers(groups, size=count)] + random.standard_normal((count, width))
    )


def make(make_use: MakeUse, name: str, **changes: Any) -> Clusterer:
    clusterer: Clusterer = make_use("clusterer", name, **changes).create()
    return clusterer


@BOTH
def test_the_contract(make_use: MakeUse, name: str) -> None:
    vectors = clouds(400)
    clusterer = make(make_use, name, count=6)
    labels = clusterer.fit(vectors)
    sizes = np.bincount(labels)
    assert labels.dtype == np.int64
    assert len(sizes) == clusterer.count == 6
    assert sizes.all()
    assert sizes.tolist() == sorted(sizes, reverse=True)
    assert (make(make_use, name, count=6).fit(vectors) == labels).all()
    new = clouds(100, seed=1)
    found = clusterer.predict(new)
    assert found.dtype == np.int64
    again = make(make_use, name, count=6)
    again.load_arrays(clusterer.arrays())
    assert again.count == 6
    assert (again.predict(new) == found).all()
    assert clusterer.predict(new[:0]).shape == (0,)
    one_by_one = [int(clusterer.predict(row[None])[0]) for row in new[:20]]
    assert one_by_one == found[:20].tolist()
    assert (clusterer.predict(vectors) == labels).mean() > 0.8


@BOTH
def test_learning_again_forgets(make_use: MakeUse, name: str) -> None:
    vectors = clouds(300)
    clusterer = make(make_use, name, count=5)
    labels = clusterer.cluster(vectors)
    clusterer.learn(vectors[labels != 4], labels[labels != 4])
    assert 4 not in clusterer.predict(vectors)
    clusterer.learn(vectors, labels)
    assert 4 in clusterer.predict(vectors)


@BOTH
@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (clouds(3), "3 vectors: too few for 4"),
        (clouds(0), "0 vectors: too few"),
        (np.repeat(clouds(3), 50, axis=0), "150 vectors, and only 3 of them differ: too few for 4"),
        (np.zeros((9, 4), np.float32), "9 vectors, and only 1 of them differ"),
        (np.float32([0, 0, 1, 0, 0]), "expected \\[N, width\\]"),
        (np.zeros((9, 0), np.float32), "expected \\[N, width\\]"),
        (np.where(np.arange(160).reshape(10, 16) == 99, np.nan, clouds(10)), "first number 6"),
        (np.where(np.arange(160).reshape(10, 16) == 0, np.inf, clouds(10)), "NaN or infinity"),
    ],
)
def test_bad_vectors(make_use: MakeUse, name: str, vectors: Vectors, message: str) -> None:
    for count in (4, "auto"):
        clusterer = make(make_use, name, count=count, min_clusters=4)
        with pytest.raises(DataError, match=message):
            clusterer.cluster(vectors.astype(np.float32))


@BOTH
def test_repeated_vectors_stay_together(make_use: MakeUse, name: str) -> None:
    vectors = np.repeat(clouds(5), 20, axis=0)
    labels = make(make_use, name, count=5).fit(vectors)
    assert np.bincount(labels).tolist() == [20] * 5
    assert all(len(set(labels[i : i + 20])) == 1 for i in range(0, 100, 20))


@BOTH
def test_as_many_clusters_as_vectors(make_use: MakeUse, name: str) -> None:
    labels = make(make_use, name, count=7, **NEAREST[name]).fit(clouds(7))
    assert sorted(labels.tolist()) == list(range(7))


NEAREST: dict[str, dict[str, Any]] = {"agglomerative_knn": {"neighbours": 1}, "kmeans": {}}


@BOTH
def test_one_giant_cluster_and_a_few_far_off(make_use: MakeUse, name: str) -> None:
    random = np.random.default_rng(0)
    giant = unit(np.eye(1, 8) + 0.001 * random.standard_normal((500, 8)))
    vectors = np.concatenate([giant, unit(-np.eye(8)[:2])])
    labels = make(make_use, name, count=3).fit(vectors)
    assert not set(labels[:500]) & set(labels[500:])
    if name == "agglomerative_knn":  # k-means depends on its starts
        assert np.bincount(labels).tolist() == [500, 1, 1]


@BOTH
def test_the_number_by_its_silhouette(make_use: MakeUse, name: str) -> None:
    random = np.random.default_rng(1)
    vectors = unit(
        np.eye(5, 12)[random.integers(5, size=200)] * 6 + random.standard_normal((200, 12))
    )
    clusterer = make(make_use, name, count="auto", min_clusters=3, max_clusters=8)
    labels = clusterer.fit(vectors)
    assert clusterer.count == 5
    assert set(clusterer.scores) == set(range(3, 9))
    expected = silhouette_score(vectors.astype(np.float64), labels)
    assert clusterer.scores[5] == pytest.approx(expected, abs=1e-6)
    few = make(make_use, name, count="auto", min_clusters=2, max_clusters=100)
    assert few.fit(vectors[:4]).max() + 1 == few.count
    assert set(few.scores) == {2, 3, 4}


def test_least_and_most(make_use: MakeUse) -> None:
    with pytest.raises(ValueError, match="is more than `max_clusters`"):
        make_use("clusterer", "kmeans", count="auto", min_clusters=9, max_clusters=3)


@BOTH
@pytest.mark.parametrize("change", ["drop", "dtype", "shape", "nan", "more"])
def test_arrays_of_a_stranger(make_use: MakeUse, name: str, change: str) -> None:
    clusterer = make(make_use, name, count=3)
    clusterer.fit(clouds(50))
    arrays = clusterer.arrays()
    key = next(key for key, array in arrays.items() if array.ndim == 2)
    if change == "drop":
        del arrays[key]
    elif change == "more":
        arrays["more"] = arrays[key]
    else:
        arrays[key] = {
            "dtype": arrays[key].astype(np.float16),
            "shape": arrays[key][0],
            "nan": np.full_like(arrays[key], np.nan),
        }[change]
    with pytest.raises(ArtifactError):
        make(make_use, name, count=3).load_arrays(arrays)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 60), st.integers(2, 12), st.integers(0, 10**6))
def test_the_partition_is_scikit_learns(count: int, width: int, seed: int) -> None:
    vectors = clouds(count, width, seed=seed)
    tree = linkage(condensed_distances(vectors), "ward")
    for clusters in {2, (count + 2) // 2, count}:
        labels = cut(tree, clusters)
        theirs = AgglomerativeClustering(clusters, linkage="ward").fit_predict(vectors)
        assert len(set(labels.tolist())) == clusters
        assert adjusted_rand_score(labels, theirs) == 1.0


@pytest.mark.parametrize("count", [2, 3, ROWS, ROWS + 1, ROWS + COLUMNS + 3])
def test_distances_across_tiles(count: int) -> None:
    vectors = 3 * clouds(count, 5)
    found, expected = condensed_distances(vectors), pdist(vectors.astype(np.float64))
    assert found.shape == expected.shape
    assert np.allclose(found, expected, atol=1e-7)


@pytest.mark.slow
def test_the_partition_at_size(make_use: MakeUse) -> None:
    vectors = clouds(3000, 256, groups=40)
    labels = make(make_use, "agglomerative_knn", count=10).cluster(vectors)
    theirs = AgglomerativeClustering(10, linkage="ward").fit_predict(vectors)
    assert adjusted_rand_score(labels, theirs) == 1.0


def test_too_many_vectors_are_reported_before_memory_is_gone(
    make_use: MakeUse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine_plugins.clusterers.agglomerative_knn.MAX_VECTORS", 100)
    with pytest.raises(DataError, match="GB for their distances"):
        make(make_use, "agglomerative_knn", count=2).cluster(clouds(101))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 70), st.integers(0, 10**6), st.booleans())
def test_labels_are_those_of_scikit_learn(
    neighbours: int, known: int, seed: int, whole: bool
) -> None:
    """With vectors on a coarse grid too: many votes and distances are equal there."""
    random = np.random.default_rng(seed)
    vectors = clouds(known, 6, seed=seed)
    new = clouds(40, 6, seed=seed + 1)
    labels = random.integers(5, size=known)
    labels[0] = 4
    neighbours = min(neighbours, known)
    theirs = KNeighborsClassifier(neighbours).fit(vectors, labels)
    order = nearest(vectors, new, neighbours)
    if whole:
        assert (vote(labels[order], 5) == theirs.predict(new)).all()
    expected = theirs.kneighbors(new, return_distance=False)
    assert (np.sort(order, axis=1) == np.sort(expected, axis=1)).all()


def test_equal_votes_go_to_the_smallest_label() -> None:
    labels = np.array([[3, 1, 3, 1], [2, 2, 0, 1], [4, 0, 2, 1]])
    assert vote(labels, 5).tolist() == [1, 2, 0]


def test_neighbours_that_rounding_mixes_up() -> None:
    """Far from 0, single precision cannot tell these rows apart; double can."""
    known = np.array([[1000, 0.001 * i] for i in range(12)], np.float32)
    order = nearest(known, np.array([[1000, 0]], np.float32), 8)
    assert sorted(order[0].tolist()) == list(range(8))


def test_more_vectors_than_a_block(make_use: MakeUse) -> None:
    known, new = clouds(200), clouds(2500, seed=3)
    clusterer = make(make_use, "agglomerative_knn", count=6)
    labels = clusterer.fit(known)
    theirs = KNeighborsClassifier(4).fit(known, labels)
    assert (clusterer.predict(new) == theirs.predict(new)).all()


def test_the_cut_is_exact_where_merges_are_equally_high() -> None:
    square = np.float32([[0, 0], [0, 1], [1, 0], [1, 1], [9, 9]])
    tree = linkage(condensed_distances(square), "ward")
    assert [len(set(cut(tree, k).tolist())) for k in range(1, 6)] == [1, 2, 3, 4, 5]


def test_renumbering_by_size() -> None:
    assert by_size(np.array([7, 2, 2, 9, 9, 5])).tolist() == [2, 0, 0, 1, 1, 3]


def test_silhouettes_of_a_sample_are_finite() -> None:
    vectors = clouds(2500, 4)
    scores = silhouettes(vectors, lambda k: np.arange(len(vectors)) % k, 2, 4)
    assert set(scores) == {2, 3, 4}
    assert all(-1 <= score <= 1 for score in scores.values())


def test_settings_are_refused(make_use: MakeUse) -> None:
    for changes in ({"count": 1}, {"count": "many"}, {"neighbours": 0}, {"surprise": 1}):
        with pytest.raises((ValueError, ConfigError)):
            make_use("clusterer", "agglomerative_knn", **changes)
    assert isinstance(make_use("clusterer", "agglomerative_knn").create(), AgglomerativeKnn)
