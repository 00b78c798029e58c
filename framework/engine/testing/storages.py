"""What storages promise."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from engine.contracts.storage import DTYPES, Shape, Storage, StoredArray, StoredTensor
from engine.errors import WeightsError
from engine.testing.common import call, imports_no_torch
from engine.testing.core import NotApplicable, fault, rule
from engine.testing.subject import Subject

_STORAGE = "engine.contracts.storage.Storage"

_SHAPES: tuple[Shape, ...] = ((), (1,), (7,), (3, 1), (1, 9), (7, 33), (64, 32), (4, 3, 5, 5),
                              (0, 4), (5, 0))  # fmt: skip
"""Numbers, vectors, odd widths, kernels of convolutions, tensors without a number."""


class StorageSubject(Subject):
    """A storage."""

    def make(self) -> Storage:
        """A new one."""
        made: Storage = self.target(self.settings)
        return made

    @cached_property
    def shapes(self) -> list[Shape]:
        """The shapes that fit.

        Raises:
            NotApplicable: none of those tried does.
        """
        fits = self.make().fits
        found = [shape for shape in _SHAPES if call(fits, shape, expected="True or False")]
        if not found:
            raise NotApplicable(f"none of the shapes {_SHAPES} fits")
        return found

    def numbers(self, shape: Shape) -> np.ndarray:
        """Numbers as weights have them, the same at each call; a row of zeros among them."""
        found = np.random.default_rng(7).normal(0, 0.05, shape).astype(np.float32)
        if len(shape) > 1 and shape[0] > 2:
            found[1] = 0
        return found

    def encode(self, array: np.ndarray) -> dict[str, StoredArray]:
        """The parts of an array, by a new storage."""
        return dict(call(self.make().encode, array, expected="encode(array) to give the parts"))

    def decode(self, parts: Mapping[str, StoredArray], shape: Shape) -> np.ndarray:
        """The numbers of parts, by a new storage."""
        expected = "decode(parts, shape) to give the numbers"
        found = call(self.make().decode, parts, shape, expected=expected)
        if not isinstance(found, np.ndarray | np.generic):  # numpy's own for the shape ()
            fault("a numpy array", f"a {type(found).__name__}")
        return np.asarray(found)


SUBJECT = StorageSubject


@rule(
    contract=f"{_STORAGE}.encode",
    says="The parts of a tensor, exactly as ``plan`` says.",
    why="`engine size` tells the bytes of a model from the plan alone, and a build that writes"
    " another number of bytes is refused.",
    needs=("settings_valid",),
)
def encodes_as_planned(it: StorageSubject) -> None:
    """Keys, dtypes and shapes of what is encoded are those of the plan."""
    for shape in it.shapes:
        plan = dict(call(it.make().plan, shape, expected="plan(shape) to give the parts"))
        if not plan or not all(isinstance(part, StoredTensor) for part in plan.values()):
            fault(f"at least one StoredTensor for the shape {list(shape)}", repr(plan))
        if unknown := sorted({part.dtype for part in plan.values()} - DTYPES.keys()):
            known = ", ".join(DTYPES)
            fault(f"dtypes among {known}", f"`{unknown[0]}` for the shape {list(shape)}")
        found = it.encode(it.numbers(shape))
        planned = {key: (part.dtype, tuple(part.shape)) for key, part in plan.items()}
        given = {key: (part.dtype, part.plan.shape) for key, part in found.items()}
        if given != planned:
            fault(f"the parts {planned} for the shape {list(shape)}", f"{given}")
        for key, part in found.items():
            carrier = DTYPES[part.dtype].carrier
            if str(part.array.dtype) != carrier:
                fault(f"the part `{key}` ({part.dtype}) in an array of {carrier}",
                      f"an array of {part.array.dtype}")  # fmt: skip


@rule(
    contract=f"{_STORAGE}.decode",
    says="The numbers of a tensor, float32, of its shape; every one is finite.",
    why="A model is read from them: one number that is not finite makes every answer meaningless.",
    needs=("encodes_as_planned",),
)
def decodes(it: StorageSubject) -> None:
    """What was encoded comes back in its shape, closer to the numbers than zeros are."""
    for shape in it.shapes:
        array = it.numbers(shape)
        found = it.decode(it.encode(array.copy()), shape)
        if found.shape != shape or found.dtype != np.float32:
            fault(f"float32 {list(shape)}", f"{found.dtype} {list(found.shape)}")
        if not np.isfinite(found).all():
            fault("finite numbers", f"{int((~np.isfinite(found)).sum())} that are not finite")
        error, size = float(np.square(found - array).sum()), float(np.square(array).sum())
        if error > size:
            fault(
                f"numbers near those that were encoded, shape {list(shape)}",
                f"a squared error of {error:.3g}; storing zeros would have {size:.3g}",
            )


@rule(
    contract=f"{_STORAGE}.lossless",
    says="Whether ``decode`` gives exactly the numbers that ``encode`` got.",
    why="What must not lose a bit is stored in a lossless storage.",
    needs=("decodes",),
)
def lossless(it: StorageSubject) -> None:
    """A storage that says it is lossless returns every bit."""
    if not it.target.lossless:
        raise NotApplicable("it does not say that it is lossless")
    for shape in it.shapes:
        array = it.numbers(shape)
        found = it.decode(it.encode(array.copy()), shape)
        if not np.array_equal(found, array):
            different = int((found != array).sum())
            fault("the same numbers again", f"{different} of {array.size} differ, shape {shape}")


@rule(
    contract=_STORAGE,
    says="the same numbers give the same bytes on every machine",
    why="An artifact's checksums, and a build that is repeated elsewhere, stand on it.",
    needs=("encodes_as_planned",),
)
def pure(it: StorageSubject) -> None:
    """Twice the same bytes, in every memory layout, and the array is left as it was."""
    for shape in it.shapes:
        array = it.numbers(shape)
        before = array.copy()
        one = it.encode(array)
        if not np.array_equal(array, before):
            fault("the array that is encoded to stay as it was", f"it changed, shape {list(shape)}")
        for what, again in (("", array), (" in another memory layout", np.asfortranarray(array))):
            other = it.encode(again)
            different = [key for key in one if _bytes(one[key]) != _bytes(other[key])]
            if different:
                fault(f"the same bytes from the same numbers{what}",
                      f"part `{different[0]}` differs, shape {list(shape)}")  # fmt: skip


def _bytes(part: StoredArray) -> bytes:
    return np.ascontiguousarray(part.array).tobytes()


@rule(
    contract=f"{_STORAGE}.decode_rows",
    says="Some rows of a tensor, float32 [len(rows), ...]: equal to ``decode(...)[rows]``.",
    why="A reader looks rows of a large table up and must find what a loaded model has.",
    needs=("decodes",),
)
def rows(it: StorageSubject) -> None:
    """Rows are those of the whole tensor."""
    for shape in it.shapes:
        if not shape or shape[0] < 2:
            continue
        chosen = np.array([shape[0] - 1, 0, shape[0] - 1], np.int64)
        parts = it.encode(it.numbers(shape))
        whole = it.decode(parts, shape)[chosen]
        found = call(it.make().decode_rows, parts, shape, chosen, expected="the rows")
        if not np.array_equal(found, whole):
            fault(f"the rows {chosen.tolist()} of what decode gives",
                  f"other numbers, shape {list(shape)}")  # fmt: skip


@rule(
    contract=f"{_STORAGE}.encode",
    says="WeightsError: it cannot hold a number as large as one of these.",
    why="A number that silently becomes infinite makes every answer of the model meaningless.",
    needs=("decodes",),
)
def extremes(it: StorageSubject) -> None:
    """Zeros, tiny and huge numbers: finite numbers come back, or a WeightsError says why not."""
    for shape in it.shapes:
        for number in (0.0, 1e-45, -1e-7, 7e4, -1e9, 3.4e38):
            array = np.full(shape, number, np.float32)
            try:
                found = it.make().decode(it.make().encode(array), shape)
            except WeightsError:
                if abs(number) > 1:
                    continue
                raise
            if not np.isfinite(found).all():
                fault(f"{number:g} back as a finite number, or a WeightsError",
                      "numbers that are not finite")  # fmt: skip
            if number == 0 and found.any():
                fault("zeros to stay zeros", f"{found.ravel()[:3].tolist()}, shape {list(shape)}")


@rule(
    contract=_STORAGE,
    says="It must not import torch.",
    why="`engine size` asks a storage for its plan and answers in a moment; importing torch takes"
    " seconds.",
    needs=("encodes_as_planned",),
)
def works_without_torch(it: StorageSubject) -> None:
    """The storage's module imports in a process of its own without torch."""
    imports_no_torch(it)


RULES = (encodes_as_planned, decodes, lossless, pure, rows, extremes, works_without_torch)
