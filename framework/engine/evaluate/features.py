"""Vision features kept on disk: a picture that a tower has seen does not run through it again.

The features of a picture (what the tower gives, before the projection) are named by its pixels, cut
and scaled, and lie in a store named by everything else that they follow from: the tower's weights,
its plugin with settings, version and code, the preprocessing, the kind of device. So a stale one is
never found, and models that differ only in their projections or texts share the pictures.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.cache.fingerprint import code_of, fingerprint
from engine.cache.items import Entry, pack, unpack
from engine.cache.store import Budget, Store
from engine.contracts.state import State
from engine.errors import DataError
from engine.evaluate.images import digest_of
from engine.pictures.cut import Pixels

if TYPE_CHECKING:
    from engine.evaluate.predictor import Predictor

BUDGET = 2 * 10**9
"""Bytes that a folder may hold: a million pictures of a tower 500 wide."""

Tower = Callable[[Sequence[Pixels]], State]
"""B pictures of ``images.square`` -> a state with ``features`` [B, W]."""


class FeatureCache:
    """A folder of vision features, for any number of models, runs and processes at once.

    A second run gives the numbers of the first, to the last bit. So does a run without a cache in
    batches of the same size, unless the first found a part of its pictures there: the others then
    ran in smaller batches, and batches of another size may round differently in the last place.
    Where there is no room left, features are computed each time::

        with FeatureCache(Path("features")) as cache:
            run(predictor, dataset, features=cache)

    Args:
        folder: made where it does not exist; of its own, for what nobody uses is removed from it
            when room is needed.
        budget: most bytes in it.
        say: told what a user should know: no room left, something damaged.

    Attributes:
        computed: pictures that ran through a tower so far.
        found: pictures that did not need to.

    Raises:
        DataError: the folder cannot be made or written.
    """

    def __init__(
        self,
        folder: Path,
        budget: int = BUDGET,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.folder, self._say = folder, say
        self.computed = self.found = 0
        self._stores: dict[Path, Store] = {}
        self._budget: Budget | None = None
        try:
            self._budget = Budget(folder, budget)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise DataError(
                    f"the cache {folder} cannot be used: {error.strerror or error}",
                    hint="name a folder that can be written, or one that does not exist yet",
                ) from error
            self._cannot_grow(error)

    def tower(self, predictor: Predictor) -> Tower:
        """The predictor's vision tower, run only for pictures that are not stored.

        The weights are read through for it: take it anew after a change of them.
        """
        store = self._open(predictor)
        if store is None:
            return _Counting(self, predictor).state
        return _Stored(self, predictor, store).state

    def _open(self, predictor: Predictor) -> Store | None:
        model, use = predictor.model, predictor.config.model.vision
        if self._budget is None or model.vision_projection.reads:
            return None  # a projection that reads more of the state than the features
        device = model.logit_scale.device.type
        more = f"evaluate {model.vision.preprocess!r} {device} {code_of(model.vision)}"
        segments = len(model.vision.segments())
        name = fingerprint(model.vision, segments, use, "float32", more)
        folder = self.folder / f"features-{name}"
        entries = [Entry("features", (model.vision.width,), False, "float32")]
        try:
            self._budget.measure()
            if folder not in self._stores:
                about = {"side": "vision", "plugin": use.name, "features": model.vision.width}
                self._stores[folder] = Store(folder, entries, self._budget, about, self._say)
            self._stores[folder].refresh()
        except OSError as error:
            self._cannot_grow(error)
            return None
        return self._stores[folder]

    def _cannot_grow(self, error: OSError) -> None:
        self._say(
            f"the cache {self.folder} cannot be used ({error.strerror or error}): everything is"
            " computed"
        )

    def close(self) -> None:
        """Let go of the folder's files."""
        for store in self._stores.values():
            store.close()
        self._stores.clear()

    def __enter__(self) -> FeatureCache:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Counting:
    """A tower whose rows are counted."""

    def __init__(self, cache: FeatureCache, predictor: Predictor) -> None:
        self._cache, self._predictor = cache, predictor

    def state(self, pixels: Sequence[Pixels]) -> State:
        self._cache.computed += len(pixels)
        return self._predictor.vision_state(pixels)


class _Stored(_Counting):
    """A tower that looks into a store first."""

    def __init__(self, cache: FeatureCache, predictor: Predictor, store: Store) -> None:
        super().__init__(cache, predictor)
        self._store = store

    def state(self, pixels: Sequence[Pixels]) -> State:
        keys = [digest_of(each) for each in pixels]
        items = {key: item for key in set(keys) if (item := self._read(key)) is not None}
        todo = [i for i, key in enumerate(keys) if key not in items]
        self._cache.found += len(pixels) - len(todo)
        if todo:
            state = super().state([pixels[i] for i in todo])
            items |= self._keep(state, [keys[i] for i in todo])
        state = unpack([items[key] for key in keys], self._store.entries, [1] * len(keys))
        device = self._predictor.model.logit_scale.device
        return {name: tensor.to(device) for name, tensor in state.items()}

    def _read(self, key: bytes) -> NDArray[np.uint8] | None:
        item = self._store.read(key)
        (entry,) = self._store.entries
        whole = item is not None and len(item) == np.dtype(entry.dtype).itemsize * entry.shape[0]
        return item if whole else None

    def _keep(self, state: State, keys: Sequence[bytes]) -> dict[bytes, NDArray[np.uint8]]:
        items = dict(zip(keys, pack(state, self._store.entries, [1] * len(keys)), strict=True))
        self._store.write(items)
        return items
