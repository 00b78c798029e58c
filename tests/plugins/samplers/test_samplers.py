"""Samplers: whole batches of different rows, the same for the same seed, the share as scheduled."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.contracts import Epoch, PluginRef, Sampler
from engine.errors import DataError
from engine_plugins.samplers.in_cluster import InCluster
from engine_plugins.samplers.settings import InClusterSettings, ShuffledSettings
from engine_plugins.samplers.shuffled import Shuffled

SAMPLERS: list[Sampler] = [
    Shuffled(ShuffledSettings()),
    InCluster(InClusterSettings(share=(0.0, 1.0))),
    InCluster(InClusterSettings(share=(0.7, 0.7))),
]


@given(
    sampler=st.sampled_from(SAMPLERS),
    rows=st.integers(2, 300),
    batch=st.integers(2, 40),
    count=st.integers(1, 12),
    seed=st.integers(0, 2**40),
    index=st.integers(0, 3),
)
def test_every_batch_is_whole_and_no_row_comes_twice(
    sampler: Sampler, rows: int, batch: int, count: int, seed: int, index: int
) -> None:
    clusters = np.random.default_rng(seed).integers(-1, count, rows)
    epoch = Epoch(index, 4, rows, batch, seed, clusters)
    if rows < batch:
        with pytest.raises(DataError, match=f"{rows} usable rows"):
            sampler.batches(epoch)
        return
    found = sampler.batches(epoch)
    assert len(found) == rows // batch
    assert all(len(one) == batch and one.dtype == np.int64 for one in found)
    flat = np.concatenate(found)
    assert len(np.unique(flat)) == len(flat)
    assert flat.min() >= 0
    assert flat.max() < rows
    again = sampler.batches(epoch)
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))


def test_another_seed_gives_another_order() -> None:
    for sampler in SAMPLERS:
        clusters = np.arange(100) % 5
        orders = [
            np.concatenate(sampler.batches(Epoch(1, 2, 100, 10, seed, clusters))) for seed in (1, 2)
        ]
        assert not np.array_equal(*orders)


def test_the_share_of_one_cluster_grows_over_the_stage(make_use: Callable[..., PluginRef]) -> None:
    sampler = make_use("sampler", "in_cluster", share=(0.0, 0.8)).create()
    clusters = np.random.default_rng(0).integers(0, 20, 20_000)
    largest = []
    for index in range(5):
        batches = sampler.batches(Epoch(index, 5, 20_000, 100, index, clusters))
        shares = [np.bincount(clusters[rows]).max() / 100 for rows in batches]
        largest.append(float(np.mean(shares[: len(shares) // 2])))
    assert largest == sorted(largest)
    assert largest[0] < 0.2
    assert 0.62 < largest[4] < 0.85


def test_a_cluster_smaller_than_its_share_is_filled_up_at_random() -> None:
    clusters = np.array([0] * 3 + [1] * 97)
    sampler = InCluster(InClusterSettings(share=(1.0, 1.0)))
    found = sampler.batches(Epoch(0, 1, 100, 20, 3, clusters))
    assert [len(rows) for rows in found] == [20] * 5
    assert sorted(np.concatenate(found).tolist()) == list(range(100))


def test_without_clusters_it_says_what_is_missing() -> None:
    with pytest.raises(DataError, match="needs clusters"):
        InCluster(InClusterSettings()).batches(Epoch(0, 1, 100, 10, 0))
