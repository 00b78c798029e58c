"""The sampler of shards: how well it mixes, and that each process reads its own shards."""

from __future__ import annotations

import numpy as np
import pytest

from engine.contracts import Epoch
from engine.errors import DataError
from engine_plugins.samplers.settings import WindowedSettings
from engine_plugins.samplers.windowed import Windowed

ROWS, SHARD, BATCH = 20_000, 500, 64


def epoch(seed: int = 3, rows: int = ROWS, batch: int = BATCH) -> Epoch:
    starts = np.append(np.arange(0, rows, SHARD), rows)
    return Epoch(index=0, count=1, rows=rows, batch_size=batch, seed=seed, shards=starts)


def test_every_row_once_and_the_same_for_the_same_seed() -> None:
    sampler = Windowed(WindowedSettings(window=1024, streams=8))
    batches = sampler.batches(epoch())
    rows = np.concatenate(batches)
    assert len(batches) == ROWS // BATCH
    assert len(np.unique(rows)) == len(rows) == len(batches) * BATCH
    assert np.array_equal(rows, np.concatenate(sampler.batches(epoch())))
    other = np.concatenate(sampler.batches(epoch(seed=4)))
    assert (rows == other).mean() < 0.01
    assert set(range(ROWS)) - set(rows) != set(range(ROWS)) - set(other)  # the rest changes


@pytest.mark.parametrize("window", [64, 512, 4096])
def test_a_row_moves_as_far_as_it_is_said(window: int) -> None:
    streams = 4
    batches = Windowed(WindowedSettings(window=window, streams=streams)).batches(epoch())
    unmixed = Windowed(WindowedSettings(window=1, streams=streams)).batches(epoch())
    mixed, read = (np.stack(some).reshape(len(batches), streams, -1) for some in (batches, unmixed))
    for stream in range(streams):
        order, own = read[:, stream].ravel(), mixed[:, stream].ravel()
        place = np.empty(ROWS, np.int64)
        place[order] = np.arange(len(order))
        moved = np.abs(place[own] - np.arange(len(own)))
        assert moved.max() < window / streams
        assert moved.mean() == pytest.approx(window / streams / 4, rel=0.15)
        nearest = place[own]
        where = np.argsort(nearest)
        assert (where[1:] > where[:-1]).mean() == pytest.approx(0.5 + streams / window, abs=0.02)


def test_within_a_stream_shards_are_read_one_after_the_other() -> None:
    batches = Windowed(WindowedSettings(window=1024, streams=8)).batches(epoch())
    for batch in batches:
        for part in np.split(batch, 8):
            assert len(np.unique(part // SHARD)) <= 3
    assert np.mean([len(np.unique(batch // SHARD)) for batch in batches]) > 8


def test_two_processes_read_shards_of_their_own() -> None:
    batches = np.stack(Windowed(WindowedSettings(window=1024, streams=8)).batches(epoch()))
    halves = [set(np.unique(half // SHARD).tolist()) for half in np.split(batches, 2, axis=1)]
    assert len(halves[0] & halves[1]) <= 1  # the one in which the halves meet


@pytest.mark.parametrize(("batch", "streams"), [(7, 4), (10, 8), (6, 100), (2, 3)])
def test_streams_divide_the_batch(batch: int, streams: int) -> None:
    found = Windowed(WindowedSettings(window=50, streams=streams)).batches(epoch(3, 1000, batch))
    assert {len(rows) for rows in found} == {batch}
    assert len(np.unique(np.concatenate(found))) == 1000 // batch * batch


def test_data_without_shards_are_refused() -> None:
    with pytest.raises(DataError, match="data in shards"):
        Windowed(WindowedSettings()).batches(Epoch(0, 1, 100, 10, 1))
