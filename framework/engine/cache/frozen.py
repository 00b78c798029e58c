"""A tower's frozen prefix: its first segments, which nothing trains, and the cache of their output.

What a stage does not train is a pure function of the sample. Training runs the prefix of each
tower through this class, evaluation the whole vision tower, so both name, compute and keep the
same numbers in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager

import torch

from engine.cache.budget import Budget
from engine.cache.entry import Entry
from engine.cache.items import entries_of, pack, unpack
from engine.cache.key import activation_key
from engine.cache.store import ActivationCache, Item
from engine.contracts.settings import PluginRef
from engine.contracts.state import State
from engine.contracts.tower import Tower


def autocast(device: torch.device, precision: torch.dtype) -> AbstractContextManager[object]:
    """Run under a precision, whatever is in force around it; float32: without autocast."""
    on = precision != torch.float32
    return torch.autocast(device.type, precision if on else torch.bfloat16, enabled=on)


def current_precision(device: torch.device) -> torch.dtype:
    """The autocast dtype that is in force for a kind of device; float32: none."""
    if not torch.is_autocast_enabled(device.type):
        return torch.float32
    return torch.get_autocast_dtype(device.type)


class FrozenPrefix:
    """Runs segments 0 to ``stop`` of a tower without gradients, and keeps what they give.

    The numbers go through the cache's dtype whether they come from the cache or not, so that a run
    does not depend on what was stored.

    Args:
        tower: the tower; its first ``stop`` segments are frozen.
        stop: the number of those segments, at least 1.
        entries: what the state holds there, see :func:`probe`.
        cache: where results are kept; ``None``: nowhere.
        device: where the tower runs.
        precision: the autocast dtype that it runs under; float32: without autocast.
        keep: outputs of the tower that its state keeps (see :meth:`Tower.run`).
    """

    def __init__(
        self,
        tower: Tower,
        stop: int,
        entries: Sequence[Entry],
        cache: ActivationCache | None,
        *,
        device: torch.device,
        precision: torch.dtype,
        keep: frozenset[str] = frozenset(),
    ) -> None:
        self.tower, self.stop, self.kept_outputs = tower, stop, keep
        self.entries, self.cache = list(entries), cache
        self.device, self.precision = device, precision

    def known(self, keys: Iterable[bytes]) -> set[bytes]:
        """Those of the keys that are stored, as far as the index says."""
        return set() if self.cache is None else self.cache.known(keys)

    def find(self, keys: Iterable[bytes]) -> dict[bytes, Item]:
        """The items that are stored."""
        return {} if self.cache is None else self.cache.read(keys)

    def compute(
        self, state: State, keys: Sequence[bytes], lengths: Sequence[int]
    ) -> dict[bytes, Item]:
        """Run rows through the prefix; their items, which the caller hands to :meth:`keep`."""
        with torch.no_grad(), autocast(self.device, self.precision):
            out = self.tower.run(state, 0, self.stop, keep=self.kept_outputs)
        return dict(zip(keys, pack(out, self.entries, lengths), strict=True))

    def keep(self, items: dict[bytes, Item]) -> None:
        """Store the items of a whole batch together."""
        if self.cache is not None:
            self.cache.write(items)

    def state(self, items: Sequence[Item], lengths: Sequence[int]) -> State:
        """Items as a state that the rest of the tower takes up."""
        return unpack(items, self.entries, lengths)

    def close(self) -> None:
        """Let go of the cache's files."""
        if self.cache is not None:
            self.cache.close()


def probe(
    tower: Tower,
    stop: int,
    short: State,
    long: State,
    dtype: str,
    *,
    given: frozenset[str] = frozenset(),
    keep: frozenset[str] = frozenset(),
) -> list[Entry]:
    """What must be kept of a tower's state after ``stop`` segments.

    At the tower's end that is ``pooled`` and what is read beside it; before it, all that the state
    holds.

    Args:
        tower: the tower.
        stop: the number of segments.
        short: an input of one row, of 1 token.
        long: an input of one row, of 2 tokens (images: the same as ``short``).
        dtype: of what is stored.
        given: entries that the batch brings anyway (``ids``, ``mask``).
        keep: what projection and losses read of the state beside the features.
    """
    at_end = stop == len(tower.segments())
    with torch.no_grad():
        states = [
            {
                name: tensor
                for name, tensor in tower.run(row, 0, stop, keep=keep).items()
                if name not in given and (not at_end or name in {"pooled", *keep})
            }
            for row in (short, long)
        ]
    return entries_of(states[0], states[1], dtype)


def open_prefix(
    modality: str,
    tower: Tower,
    stop: int,
    plugin: PluginRef,
    entries: Sequence[Entry],
    budget: Budget,
    *,
    device: torch.device,
    precision: torch.dtype,
    keep: frozenset[str] = frozenset(),
) -> FrozenPrefix:
    """A frozen prefix with its cache, which is named by all that the numbers follow from.

    Args:
        modality: ``"vision"`` or ``"text"``.
        tower: the tower.
        stop: see :class:`FrozenPrefix`, as ``entries``, ``device`` and ``precision``.
        plugin: the tower's plugin and settings.
        entries: what is kept.
        budget: of the folder.
        device: where the tower runs.
        precision: the autocast dtype.
        keep: see :class:`FrozenPrefix`.
    """
    key = activation_key(tower, stop, plugin, entries, device=device, precision=precision)
    about = {
        "modality": modality,
        "plugin": plugin.name,
        "segments": stop,
        "device": device.type,
        "precision": str(precision).removeprefix("torch."),
    }
    cache = ActivationCache(budget.folder / f"{modality}-{key}", entries, budget, about)
    return FrozenPrefix(tower, stop, entries, cache, device=device, precision=precision, keep=keep)
