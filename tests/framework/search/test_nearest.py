"""Exact search is numpy's; an inverted file finds what it says it finds, growing and shrinking."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.search.nearest import Exact, Inverted, brute_force, recall


def unit(rows: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    found = np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 10**6), st.data())
def test_exact_equals_numpy(count: int, width: int, seed: int, data: Any) -> None:
    rows, ids = unit(count, width, seed), np.arange(count, dtype=np.int64) * 3 + 5
    index = Exact(width)
    half = count // 2
    index.add(ids[:half], rows[:half])
    index.add(ids[half:], rows[half:])
    gone = data.draw(st.lists(st.sampled_from(ids.tolist()), unique=True))
    index.remove(np.array([*gone, 1], np.int64))
    kept = ~np.isin(ids, gone)
    allowed = ids[kept][:: data.draw(st.integers(1, 3))]
    (query,) = unit(1, width, seed + 1)
    for among in (None, allowed):
        sure = kept if among is None else np.isin(ids, among)
        expected = np.sort(rows[sure] @ query)[::-1][:10]
        scores, found = index.search(query[None], 10, among)
        real = found[0] >= 0
        np.testing.assert_allclose(scores[0][real], expected, atol=1e-6)
        places = (found[0][real] - 5) // 3
        np.testing.assert_allclose(rows[places] @ query, expected, atol=1e-6)


def clustered(count: int, width: int, seed: int) -> NDArray[np.float32]:
    """Rows around common centres, as vectors of pictures lie."""
    rng = np.random.default_rng(seed)
    rows = unit(40, width, 7)[rng.integers(0, 40, count)] * 2 + unit(count, width, seed)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_an_inverted_file_is_tuned_and_changes(tmp_path: Any) -> None:
    rows, ids = clustered(4_000, 16, 0), np.arange(4_000, dtype=np.int64)
    index = Inverted.train(16, 4_000, rows[:2_000])
    index.add(ids[:3_000], rows[:3_000])
    index.add(ids[3_000:], rows[3_000:])
    queries = clustered(64, 16, 1)
    _, truth = brute_force(
        queries, iter([(ids[:1_500], rows[:1_500]), (ids[1_500:], rows[1_500:])]), 10
    )
    for query, found in zip(queries, truth, strict=True):
        assert set(found) == set(np.argsort(-(rows @ query))[:10])
    index.tune(queries, truth)
    assert index.recall >= 0.97
    assert index.recall == recall(index.search(queries, 10)[1], truth)
    assert 1 <= index.probes < index._index.nlist  # not everything is looked at
    with (tmp_path / "x").open("wb") as file:
        index.write(file.write)
    again = Inverted.read(str(tmp_path / "x"), index.probes, index.recall)
    assert np.array_equal(again.search(queries, 10)[1], index.search(queries, 10)[1])
    index.remove(truth[0])
    assert not set(index.search(queries[:1], 10)[1][0]) & set(truth[0])
    assert len(index) == 3_990
    assert set(index.search(queries[:1], 5, ids[:7])[1][0]) <= {*range(7), -1}


def test_an_inverted_file_of_points_without_order_looks_at_everything() -> None:
    """Its recall is reached however the points lie, at the price of speed."""
    rows, ids = unit(1_000, 64), np.arange(1_000, dtype=np.int64)
    index = Inverted.train(64, 1_000, rows)
    index.add(ids, rows)
    queries = unit(20, 64, 3)
    index.tune(queries, brute_force(queries, iter([(ids, rows)]), 10)[1])
    assert index.recall >= 0.97


def test_recall() -> None:
    truth = np.array([[1, 2], [3, 4]])
    assert recall(np.array([[2, 9], [4, 3]]), truth) == pytest.approx(0.75)
