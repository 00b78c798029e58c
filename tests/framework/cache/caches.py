"""Small activation caches for the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.cache.budget import Budget
from engine.cache.entry import Entry
from engine.cache.store import ActivationCache

ENTRIES = [Entry("hidden", (3,), True, "float32"), Entry("number", (), False, "int64")]


def items(*values: int) -> dict[bytes, np.ndarray]:
    return {
        value.to_bytes(16, "little"): np.full(20 + value, value % 256, dtype=np.uint8)
        for value in values
    }


def open_cache(folder: Path, limit: int = 10**7) -> ActivationCache:
    return ActivationCache(folder / "s", ENTRIES, Budget(folder, limit), {})


def filled(folder: Path, *values: int) -> Path:
    """The folder of a closed cache that holds these, in this order."""
    with open_cache(folder) as cache:
        for value in values:
            cache.write(items(value))
    return folder / "s"


def values_in(cache: ActivationCache, *values: int) -> set[int]:
    """Those that are there, each whole."""
    expected = items(*values)
    found = cache.read(expected)
    for key, item in found.items():
        assert np.array_equal(item, expected[key])
    return {int.from_bytes(key, "little") for key in found}
