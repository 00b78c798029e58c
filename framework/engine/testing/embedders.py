"""What embedders promise."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.core.sources import UnreachableError
from engine.testing.arrays import refuses_others, through_a_file
from engine.testing.common import call, shorten
from engine.testing.core import describe, fault, rule
from engine.testing.subject import Subject
from engine.testing.tokenizers import HOSTILE, TEXTS

_EMBEDDER = "engine.contracts.clustering.Embedder"
_EMBED = f"{_EMBEDDER}.embed"
_CLOSE = 1e-3  # beyond rounding: batches of other sizes are computed by other routines


class EmbedderSubject(Subject):
    """An embedder."""

    @property
    def texts(self) -> Sequence[str]:
        """What it learns from."""
        return tuple(self.hints.get("texts", TEXTS))

    def make(self) -> Any:
        """A new one."""
        return self.target(self.settings)

    @cached_property
    def embedder(self) -> Any:
        """One that was fitted."""
        made = self.make()
        made.fit(self.texts)
        return made

    @property
    def tried(self) -> list[str]:
        """Ordinary texts of different lengths, each once, and hostile ones."""
        return [*dict.fromkeys(self.texts), "кот " * 30, *HOSTILE]

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """Of the tried texts."""
        found: NDArray[np.float32] = self.embedder.embed(self.tried)
        return found


SUBJECT = EmbedderSubject


@rule(
    contract=_EMBEDDER,
    says="Texts to vectors.",
    why="Clusters are found among these vectors.",
    needs=("settings_valid",),
)
def fit(it: EmbedderSubject) -> None:
    """It is made and fitted, and knows its width."""
    try:
        found = it.embedder
    except UnreachableError as error:
        fault("its model to be reached", str(error), "Give settings that need no network, such as a"
              " small model that lies beside your tests.")  # fmt: skip
    except Exception as error:
        fault("to be made as Class(settings) and fitted by fit(texts)", describe(error))
    wide = getattr(found, "width", None)
    if not isinstance(wide, int) or wide < 1:
        fault("`width`, a whole number of at least 1, after fit()", repr(wide))


@rule(
    contract=_EMBED,
    says="[N] texts -> [N, width] float32, each row of length 1; a text without any known part: 0.",
    why="Clusterers compare directions; one NaN spoils every cluster.",
    needs=("fit",),
)
def vectors(it: EmbedderSubject) -> None:
    """Finite float32 rows of length 1 (or 0), one a text, whatever the text."""
    for text in it.tried:
        shown = shorten(text, 40)
        call(it.embedder.embed, [text], expected=f"any text to be taken, here {shown}")
    found = call(it.embedder.embed, it.tried, expected="many texts at once to be taken")
    right = (len(it.tried), it.embedder.width)
    if not isinstance(found, np.ndarray) or found.shape != right:
        shape = getattr(found, "shape", type(found).__name__)
        fault(f"an array [N, width], here {list(right)}", f"{shape}")
    if found.dtype != np.float32:
        fault("float32", str(found.dtype))
    if (bad := np.flatnonzero(~np.isfinite(found).all(axis=1))).size:
        fault("finite numbers", f"NaN or infinity for {shorten(it.tried[bad[0]], 40)}")
    length = np.linalg.norm(found, axis=1)
    off = np.flatnonzero((np.abs(length - 1) > 1e-3) & (length != 0))
    if off.size:
        fault("rows of length 1, or 0 where nothing is known",
              f"length {length[off[0]]:.4g} for {shorten(it.tried[off[0]], 40)}")  # fmt: skip
    empty = call(it.embedder.embed, [], expected="no texts to be taken")
    if np.shape(empty) != (0, it.embedder.width):
        fault(f"[0, {it.embedder.width}] for no texts", f"{np.shape(empty)}")


@rule(
    contract=_EMBED,
    says="A text's vector does not depend on the others of the call (beyond rounding).",
    why="Training texts and later ones come in different calls and must fall into the same"
    " clusters.",
    needs=("vectors",),
)
def batch_independence(it: EmbedderSubject) -> None:
    """A text alone, in another order, or a second time has the same vector."""
    texts = it.tried
    for what, found in (
        ("a second time", it.embedder.embed(texts)),
        ("in another order", it.embedder.embed(texts[::-1])[::-1]),
        ("one by one", np.concatenate([it.embedder.embed([text]) for text in texts])),
    ):
        error = np.abs(found - it.vectors).max(axis=1)
        if not (error <= _CLOSE).all():
            worst = int(error.argmax())
            fault(f"the same vector {what} (within {_CLOSE})",
                  f"{shorten(texts[worst], 40)} differs by {error[worst]:.2g}")  # fmt: skip


@rule(
    contract=f"{_EMBEDDER}.arrays",
    says="What :meth:`fit` learned, or what tells the model from another of its name.",
    why="An artifact keeps the clusters of a model, and later texts are embedded by what it kept.",
    needs=("vectors",),
)
def arrays_round_trip(it: EmbedderSubject) -> None:
    """A new embedder with the arrays gives the same vectors."""
    kept = through_a_file(it.embedder)
    other = it.make()
    call(other.load_arrays, kept, expected="load_arrays to take what arrays() gave")
    found = call(other.embed, it.tried, expected="to embed after load_arrays, without fit")
    if found.shape != it.vectors.shape or not np.allclose(found, it.vectors, atol=_CLOSE):
        fault("the same vectors from a new embedder after load_arrays",
              "others: arrays() does not hold all that fit() learned")  # fmt: skip
    if other.width != it.embedder.width:
        fault(f"width {it.embedder.width} after load_arrays", f"{other.width}")


@rule(
    contract=f"{_EMBEDDER}.load_arrays",
    says="ArtifactError: the arrays are not this embedder's.",
    why="An artifact may come from anybody.",
    needs=("arrays_round_trip",),
)
def bad_arrays(it: EmbedderSubject) -> None:
    """Other arrays are refused."""
    refuses_others(it.make(), through_a_file(it.embedder))


RULES = (fit, vectors, batch_independence, arrays_round_trip, bad_arrays)
