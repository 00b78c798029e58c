"""What training saw of the data that a model is evaluated on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from engine.bench.datasets import leaves
from engine.contracts.dataset import Dataset
from engine.contracts.settings import PluginRef
from engine.errors import EngineError

MAX_COMPARED = 20_000
"""Training pictures that are looked at, one by one; of more, only settings are compared."""

_APART = frozenset({"split", "count", "seed"})
"""Settings that choose other pictures of the same source."""


@dataclass(frozen=True)
class Seen:
    """What is known of it.

    Attributes:
        images: the very images were trained on, in words; empty: not as far as is known.
        note: what else a reader should know; may be empty.
    """

    images: str = ""
    note: str = ""


class Training:
    """The data set that a model was trained on."""

    def __init__(self, use: PluginRef | None) -> None:
        self._use = use
        self._digests: frozenset[bytes] | str | None = None

    def seen(self, use: PluginRef, dataset: Dataset) -> Seen:
        """What training saw of a data set.

        Args:
            use: its plugin and settings.
            dataset: the same, open.
        """
        if self._use is None:
            return Seen()
        parts = leaves(self._use)
        if any(part == use for part in parts):
            return Seen("trained on these very images")
        note = ""
        if any(_same_source(part, use) for part in parts):
            note = "trained on another part of the same data set"
        ours = self._pictures()
        if isinstance(ours, str):
            return Seen("", f"{note}; {ours}" if note else ours)
        found = sum(each in ours for each in _digests(dataset, range(len(dataset))))
        if found:
            return Seen(f"{found:,} of {len(dataset):,} images were trained on", note)
        return Seen("", note)

    def _pictures(self) -> frozenset[bytes] | str:
        """Digests of the training pictures, or why there are none."""
        if self._digests is None:
            self._digests = self._looked_at()
        return self._digests

    def _looked_at(self) -> frozenset[bytes] | str:
        assert self._use is not None
        try:
            dataset: Dataset = self._use.create()
        except EngineError:  # an artifact's need not be on this machine
            return "its training images are not here to be compared"
        if len(dataset) > MAX_COMPARED:
            return f"training images not compared one by one (more than {MAX_COMPARED:,})"
        return frozenset(_digests(dataset, range(len(dataset))))


def _same_source(a: PluginRef, b: PluginRef) -> bool:
    if a.name != b.name:
        return False
    one, other = a.to_config(), b.to_config()
    paths = {k for k in one if k in ("path", "folder") and one[k] != other.get(k)}
    differs = {k for k in one.keys() | other.keys() if one.get(k) != other.get(k)}
    return not paths and (differs <= _APART or "split" in one)


def _digests(dataset: Dataset, rows: Iterable[int]) -> Iterable[bytes]:
    for row in rows:
        try:
            image = dataset.image(row)
        except Exception:  # a broken picture, or a third party's reader: nothing was learned of it
            continue
        size = f"{image.width}x{image.height}".encode()
        yield hashlib.blake2b(size + image.tobytes(), digest_size=16).digest()
