"""Vision features kept on disk: a picture that a tower has seen does not run through it again.

The features of a picture (what the tower gives, before the projection) are named by its pixels, cut
and scaled, in an activation cache that is named by everything else that they follow from (see
:func:`engine.cache.key.activation_key`). So a stale one is never found; models that differ only in
their projections or texts share the pictures, and so does training with the vision tower frozen.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.cache.budget import Budget
from engine.cache.entry import Entry
from engine.cache.frozen import FrozenPrefix, autocast, current_precision, open_prefix
from engine.cache.items import pack
from engine.cache.key import item_key
from engine.contracts.preprocess import Pixels
from engine.contracts.state import State

if TYPE_CHECKING:
    from engine.evaluate.predictor import Predictor, Tower

BUDGET = 2 * 10**9
"""Bytes that a folder may hold: a million pictures of a tower 500 wide."""


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

    Attributes:
        computed: pictures that ran through a tower so far.
        found: pictures that did not need to.

    Raises:
        DataError: the folder cannot exist: there is a file of its name, for example.
    """

    def __init__(
        self,
        folder: Path,
        budget: int = BUDGET,
    ) -> None:
        self.folder = folder
        self.computed = self.found = 0
        self._prefixes: dict[Path, FrozenPrefix] = {}
        self._budget = Budget(folder, budget)

    def tower(self, predictor: Predictor) -> Tower:
        """The predictor's vision tower, run only for pictures that are not stored.

        The weights are read for it: call this again after a change of them.
        """
        if predictor.model.vision_projection.reads:
            return _Counting(self, predictor).state  # more of the state than the features
        return _Stored(self, predictor, self._open(predictor)).state

    def _open(self, predictor: Predictor) -> FrozenPrefix:
        tower, device = predictor.model.vision, predictor.model.logit_scale.device
        prefix = open_prefix(
            "vision",
            tower,
            len(tower.segments()),
            predictor.config.model.vision,
            [Entry("pooled", (tower.width,), False, "float32")],
            self._budget,
            device=device,
            precision=current_precision(device),
        )
        assert prefix.cache is not None
        before = self._prefixes.get(prefix.cache.folder)
        if before is not None:
            prefix.close()
            return before
        self._prefixes[prefix.cache.folder] = prefix
        return prefix

    def close(self) -> None:
        """Let go of the folder's files."""
        for prefix in self._prefixes.values():
            prefix.close()
        self._prefixes.clear()

    def __enter__(self) -> FeatureCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Counting:
    """A tower whose rows are counted."""

    def __init__(self, cache: FeatureCache, predictor: Predictor) -> None:
        self._cache, self._predictor = cache, predictor

    def state(self, pixels: Sequence[Pixels]) -> State:
        self._cache.computed += len(pixels)
        return self._predictor.vision_state(pixels)


class _Stored(_Counting):
    """A tower that looks into the cache first."""

    def __init__(self, cache: FeatureCache, predictor: Predictor, prefix: FrozenPrefix) -> None:
        super().__init__(cache, predictor)
        self._prefix = prefix

    def state(self, pixels: Sequence[Pixels]) -> State:
        keys = [item_key(each) for each in pixels]
        items = self._prefix.find(keys)
        todo = [i for i, key in enumerate(keys) if key not in items]
        self._cache.found += len(pixels) - len(todo)
        if todo:
            # Under the precision that the cache is named by, whatever is in force by now.
            with autocast(self._prefix.device, self._prefix.precision):
                state = super().state([pixels[i] for i in todo])
            rows = pack(state, self._prefix.entries, [1] * len(todo))
            computed = dict(zip([keys[i] for i in todo], rows, strict=True))
            self._prefix.keep(computed)
            items |= computed
        state = self._prefix.state([items[key] for key in keys], [1] * len(keys))
        return {name: tensor.to(self._prefix.device) for name, tensor in state.items()}
