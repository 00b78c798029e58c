"""Batches through processes, and rows through files: in order, and loud where one dies."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.text.parallel import SMALL, ordered, workers_for
from engine.data.text.spill import Spill, mix, runs
from engine.errors import DataError


@pytest.fixture(autouse=True)
def importable(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A started process imports this module by its name."""
    monkeypatch.syspath_prepend(root)


def multiplier(factor: int) -> Callable[[int], int]:
    def times(value: int) -> int:
        if value == 13:
            raise ValueError("thirteen")
        if value == 66:
            os._exit(1)
        return factor * value

    return times


@pytest.mark.parametrize("workers", [1, 2])
def test_in_order(workers: int) -> None:
    taken = 0

    def numbers() -> Iterator[int]:
        nonlocal taken
        for i in range(12):
            taken += 1
            yield i

    found = ordered(multiplier, 3, numbers(), workers)
    assert next(found) == 0
    assert taken <= 2 * workers + 1  # no more in memory than that
    assert list(found) == [3 * i for i in range(1, 12)]


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_come_through(workers: int) -> None:
    with pytest.raises(ValueError, match="thirteen"):
        list(ordered(multiplier, 1, range(20), workers))


def test_a_dead_worker_is_reported() -> None:
    with pytest.raises(DataError, match="a worker process ended"):
        list(ordered(multiplier, 1, range(60, 70), 2))


def test_number_of_workers() -> None:
    assert workers_for(SMALL - 1) == 1
    assert workers_for(SMALL * 100) == min(8, os.cpu_count() or 1)
    assert workers_for(10, 5) == 5


@given(st.lists(st.lists(st.integers(0, (1 << 64) - 1), max_size=20), max_size=8))
def test_everything_spilled_comes_back(tmp_path_factory: pytest.TempPathFactory,
                                       added: list[list[int]]) -> None:  # fmt: skip
    path = tmp_path_factory.mktemp("spill") / "rows"
    dtype = np.dtype([("hash", "u8"), ("order", "u8")])
    spill = Spill(path, dtype)
    count = 0
    for values in added:
        rows = np.zeros(len(values), dtype)
        rows["hash"] = np.array(values, np.uint64)
        rows["order"] = np.arange(count, count + len(values))
        spill.add(rows)
        count += len(values)
    found = [tuple(row) for part in spill.parts() for row in part.tolist()]
    flat = [value for values in added for value in values]
    assert found == sorted((value, i) for i, value in enumerate(flat))
    assert spill.rows == len(flat)
    distinct = sum(len(runs(part["hash"])) for part in spill.parts())
    assert distinct == len(Counter(flat))
    spill.close()
    assert not path.exists()


def test_mix_is_a_bijection_of_some() -> None:
    values = np.arange(100_000, dtype=np.uint64)
    assert len(np.unique(mix(values))) == 100_000
