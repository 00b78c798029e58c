"""The frozen stretch at the beginning of a tower: run once for each different text or picture.

What a stage does not train is a pure function of the sample. The stretch is found from the tower's
segments; its results are named by the content of everything that they follow from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engine.cache.fingerprint import fingerprint
from engine.cache.items import Entry, entries_of, pack, unpack
from engine.cache.store import Budget, Store
from engine.config.train_schema import CacheSettings
from engine.contracts.settings import Use
from engine.contracts.state import State
from engine.contracts.tower import Tower


class Prefix:
    """Runs segments 0 to ``stop`` of a tower without gradients, and keeps what they give.

    The numbers go through the store's dtype whether they come from the store or not, so that a run
    does not depend on what was stored.

    Args:
        tower: the tower; its first ``stop`` segments are frozen.
        stop: the number of those segments, at least 1.
        entries: what the state holds there, see :func:`probe`.
        store: where results are kept; ``None``: nowhere.
    """

    def __init__(
        self, tower: Tower, stop: int, entries: Sequence[Entry], store: Store | None
    ) -> None:
        self.tower, self.stop = tower, stop
        self.entries, self.store = list(entries), store

    def find(self, keys: Sequence[bytes]) -> dict[bytes, NDArray[np.uint8]]:
        """The items that are stored."""
        if self.store is None:
            return {}
        found = {key: self.store.read(key) for key in dict.fromkeys(keys)}
        return {key: item for key, item in found.items() if item is not None}

    def compute(
        self, state: State, keys: Sequence[bytes], lengths: Sequence[int]
    ) -> dict[bytes, NDArray[np.uint8]]:
        """Run rows through the stretch; their items, which the caller hands to :meth:`keep`."""
        with torch.no_grad():
            out = self.tower.run(state, 0, self.stop)
        return dict(zip(keys, pack(out, self.entries, lengths), strict=True))

    def keep(self, items: dict[bytes, NDArray[np.uint8]]) -> None:
        """Store the items of a whole batch together."""
        if self.store is not None:
            self.store.write(items)

    def state(self, items: Sequence[NDArray[np.uint8]], lengths: Sequence[int]) -> State:
        """Items as a state that the rest of the tower takes up."""
        return unpack(items, self.entries, lengths)


def probe(
    tower: Tower, stop: int, short: State, long: State, dtype: str, given: frozenset[str]
) -> list[Entry]:
    """What a tower's state holds after ``stop`` segments.

    Args:
        tower: the tower.
        stop: the number of segments.
        short: an input of one row, of 2 tokens.
        long: an input of one row, of 3 tokens (images: the same as ``short``).
        dtype: of what is stored.
        given: entries that the batch brings anyway (``ids``, ``mask``).
    """
    with torch.no_grad():
        states = [
            {name: t for name, t in tower.run(row, 0, stop).items() if name not in given}
            for row in (short, long)
        ]
    return entries_of(states[0], states[1], dtype)


def open_store(
    side: str,
    tower: Tower,
    stop: int,
    use: Use,
    entries: Sequence[Entry],
    settings: CacheSettings,
    budget: Budget,
    more: str,
    say: Callable[[str], None],
) -> Store:
    """The store of a stretch, by its fingerprint."""
    name = fingerprint(tower, stop, use, settings.dtype, more)
    folder: Path = budget.folder / f"{side}-{name}"
    about = {"side": side, "plugin": use.name, "segments": stop, "dtype": settings.dtype}
    return Store(folder, entries, budget, about, say)
