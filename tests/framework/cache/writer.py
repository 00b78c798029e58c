"""A process of its own that opens caches, writes items 0 to COUNT - 1 and checks what it reads."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from engine.cache.budget import Budget
from engine.cache.entry import Entry
from engine.cache.store import ActivationCache

ENTRIES = [Entry("features", (5,), False, "float32")]
COUNT, OPENINGS = 60, 8


def item(number: int) -> tuple[bytes, np.ndarray]:
    """The key and the bytes of an item, the same in every process."""
    return number.to_bytes(16, "little"), np.full(20 + number % 7, number % 251, dtype=np.uint8)


def check(cache: ActivationCache, numbers: list[int]) -> int:
    """How many of the items are there, each whole."""
    expected = dict(map(item, numbers))
    found = cache.read(expected)
    for key, content in found.items():
        assert np.array_equal(content, expected[key]), key
    return len(found)


def in_turn(folder: Path, limit: int, seed: int) -> None:
    """Open and close two caches several times, so that they push each other out."""
    rng = np.random.default_rng(seed)
    for opening in range(OPENINGS):
        name = f"s{(opening + seed) % 2}"
        with ActivationCache(folder / name, ENTRIES, Budget(folder, limit), {}) as cache:
            for number in rng.integers(0, COUNT, 20).tolist():
                if not check(cache, [number]):
                    cache.write(dict([item(number)]))


def endless(folder: Path, first: int) -> None:
    """Write batches of new items until killed; a line for each that is stored."""
    cache = ActivationCache(folder / "s", ENTRIES, Budget(folder, 10**9), {})
    while True:
        cache.write(dict(map(item, range(first, first + 50))))
        first += 50
        print(first, flush=True)


if __name__ == "__main__":
    what, where, *more = sys.argv[1:]
    if what == "endless":
        endless(Path(where), int(more[0]))
    else:
        in_turn(Path(where), int(more[0]), int(more[1]))
