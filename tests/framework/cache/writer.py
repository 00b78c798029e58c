"""A process of its own that writes items 0 to N - 1 and reads all that it can see."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from engine.cache.items import Entry
from engine.cache.store import Budget, Store

ENTRIES = [Entry("features", (5,), False, "float32")]
COUNT, OPENINGS = 60, 8


def item(number: int) -> tuple[bytes, np.ndarray]:
    """The key and the bytes of an item, the same in every process."""
    return number.to_bytes(16, "little"), np.full(20, number % 251, dtype=np.uint8)


def main(folder: Path, limit: int, seed: int) -> None:
    """Open and close the store several times, two of them by turns so that they push each other."""
    rng = np.random.default_rng(seed)
    for opening in range(OPENINGS):
        store = Store(folder / f"s{(opening + seed) % 2}", ENTRIES, Budget(folder, limit), {})
        for number in rng.integers(0, COUNT, 40).tolist():
            key, content = item(number)
            found = store.read(key)
            if found is None:
                store.write({key: content})
            else:
                assert np.array_equal(found, content), (number, found)
            if rng.random() < 0.1:
                store.refresh()
        store.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
