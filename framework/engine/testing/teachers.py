"""What teachers promise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from engine.core.sources import UnreachableError
from engine.testing.common import call, shorten
from engine.testing.core import NotApplicable, describe, fault, rule
from engine.testing.subject import Subject
from engine.testing.tokenizers import HOSTILE, TEXTS

_TEACHER = "engine.contracts.teacher.Teacher"
_CLOSE = 1e-3  # beyond rounding: batches of other sizes are computed by other routines
_MODALITIES = ("text", "image")


class TeacherSubject(Subject):
    """A teacher."""

    def make(self) -> Any:
        """A new one."""
        return self.target(self.settings)

    @cached_property
    def teacher(self) -> Any:
        """One."""
        return self.make()

    @property
    def inputs(self) -> list[tuple[str, Callable[[Sequence[Any]], Any], list[Any]]]:
        """For each modality that it gives: the modality, the function, and what it is tried on."""
        found: list[tuple[str, Callable[[Sequence[Any]], Any], list[Any]]] = []
        if "text" in self.teacher.gives:
            tried = [*dict.fromkeys(TEXTS), "кот " * 30, *HOSTILE]
            found.append(("text", self.teacher.encode_texts, tried))
        if "image" in self.teacher.gives:
            found.append(("image", self.teacher.encode_images, _pictures()))
        return found


SUBJECT = TeacherSubject


def _pictures() -> list[Any]:
    from PIL import Image

    rng = np.random.default_rng(0)
    sizes = ((40, 30), (17, 64), (1, 1), (33, 33))
    return [
        Image.fromarray(rng.integers(0, 256, (high, wide, 3), dtype=np.uint8))
        for wide, high in sizes
    ]


@rule(
    contract=_TEACHER,
    says="Texts, images or both become vectors, always the same ones.",
    why="Losses read what it gives by the modalities that it names.",
    needs=("settings_valid",),
)
def opens(it: TeacherSubject) -> None:
    """It is made; it knows its width and what it gives."""
    try:
        found = it.teacher
    except UnreachableError as error:
        fault("its model to be reached", str(error), "Give settings that need no network, such as a"
              " small model that lies beside your tests.")  # fmt: skip
    except Exception as error:
        fault("to be made as Class(settings)", describe(error))
    wide = getattr(found, "width", None)
    if not isinstance(wide, int) or wide < 1:
        fault("`width`, a whole number of at least 1", repr(wide))
    if not found.gives or not set(found.gives) <= set(_MODALITIES):
        fault("`gives`, a set of `text`, `image` or both", repr(found.gives))


@rule(
    contract=f"{_TEACHER}.encode_texts",
    says="[N] texts -> [N, width] float32, finite.",
    why="A vector that is not finite would end the run at its first step.",
    needs=("opens",),
)
def vectors(it: TeacherSubject) -> None:
    """Finite float32 rows, one an input, whatever the input."""
    for modality, encode, tried in it.inputs:
        found = call(encode, tried, expected=f"any {modality} to be taken")
        right = (len(tried), it.teacher.width)
        if not isinstance(found, np.ndarray) or found.shape != right:
            shape = getattr(found, "shape", type(found).__name__)
            fault(f"an array [N, width] of {modality}s, here {list(right)}", f"{shape}")
        if found.dtype != np.float32:
            fault("float32", str(found.dtype))
        if (bad := np.flatnonzero(~np.isfinite(found).all(axis=1))).size:
            fault("finite numbers", f"NaN or infinity for {shorten(tried[bad[0]], 40)}")


@rule(
    contract=_TEACHER,
    says="What it gives does not depend on the other texts or images of a call",
    why="Each input goes through it once, in whatever batch, and what it gave is kept.",
    needs=("vectors",),
)
def batch_independence(it: TeacherSubject) -> None:
    """An input alone, in another order, or a second time has the same vector."""
    for modality, encode, tried in it.inputs:
        right = encode(tried)
        for what, found in (
            ("a second time", encode(tried)),
            ("in another order", encode(tried[::-1])[::-1]),
            ("one by one", np.concatenate([encode([one]) for one in tried])),
        ):
            error = np.abs(found - right).max(axis=1)
            if not (error <= _CLOSE).all():
                worst = int(error.argmax())
                fault(f"the same vector of each {modality} {what} (within {_CLOSE})",
                      f"{shorten(tried[worst], 40)} differs by {error[worst]:.2g}")  # fmt: skip


@rule(
    contract=f"{_TEACHER}.identity",
    says="Two teachers of one identity give the same vectors.",
    why="What a teacher gave is kept under its identity, and another run takes it from there.",
    needs=("vectors",),
)
def identity(it: TeacherSubject) -> None:
    """A text, the same of a second one, which gives the same vectors."""
    found = call(it.teacher.identity, expected="identity() to give a text")
    if not isinstance(found, str) or not found:
        fault("a text that is not empty", repr(found))
    other = it.make()
    if other.identity() != found:
        fault("the same identity from a teacher of the same settings",
              f"{shorten(found)}, then {shorten(other.identity())}")  # fmt: skip
    for modality, encode, tried in it.inputs:
        again = getattr(other, f"encode_{modality}s")(tried)
        if not np.allclose(again, encode(tried), atol=_CLOSE):
            fault(f"the same vectors of {modality}s from a teacher of the same identity", "others")


@rule(
    contract=_TEACHER,
    says='gives: ``"text"``, ``"image"`` or both.',
    why="A loss that reads the other modality must be refused before training, in words.",
    needs=("opens",),
)
def other_modality(it: TeacherSubject) -> None:
    """What it does not give is refused."""
    missing = [modality for modality in _MODALITIES if modality not in it.teacher.gives]
    if not missing:
        raise NotApplicable("it gives both")
    for modality in missing:
        tried: list[Any] = ["a"] if modality == "text" else _pictures()[:1]
        try:
            getattr(it.teacher, f"encode_{modality}s")(tried)
        except Exception:
            continue
        fault(f"an error from encode_{modality}s, which `gives` leaves out", "vectors")


RULES = (opens, vectors, batch_independence, identity, other_modality)
