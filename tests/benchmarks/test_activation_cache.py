"""The stores that the benchmark compares are stores: what is written is read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def benchmarks(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The benchmarks' folder on the path."""
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    yield
    for name in ("activation_cache", "activation_cache_stores", "measure"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("benchmarks")
@pytest.mark.parametrize("name", ["engine", "former", "lmdb", "sqlite", "lmdb index"])
@pytest.mark.parametrize("sort", ["index", "vectors", "tokens"])
def test_every_store_gives_back_what_was_written(tmp_path: Path, name: str, sort: str) -> None:
    if name.startswith("lmdb"):
        pytest.importorskip("lmdb", reason="lmdb is for the benchmark alone")
    from activation_cache import content_of, fill, key_of  # type: ignore[import-not-found]
    from activation_cache_stores import STORES  # type: ignore[import-not-found]

    noise = np.random.default_rng(0).integers(0, 256, 1000 + 15 * 768 * 4, dtype=np.uint8)
    for first in (0, 40):
        store = STORES[name](tmp_path / "s")
        fill(store, sort, first, first + 40)
        store.close()
    store = STORES[name](tmp_path / "s")
    found = store.read([key_of(n) for n in range(90)])
    assert len(found) == 80
    for n in range(80):
        assert np.array_equal(found[key_of(n)], content_of(sort, n, noise))
    store.close()
