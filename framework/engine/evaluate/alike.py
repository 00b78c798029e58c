"""Classes that a model cannot tell apart: of equal class vectors the first one always wins.

That is not an error anywhere in the arithmetic, and the answers look as good as any. So classes of
equal vectors are found and reported with the reason: a template that leaves no room for the name,
a tokenizer that does not know its letters, or weights that have collapsed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.contracts.tokenizer import Tokenizer
from engine.core.config.schema import ZeroShotSettings
from engine.core.model import DualEncoder
from engine.errors import DataError
from engine.evaluate.vectors import without_direction
from engine.evaluate.zero_shot import prompts
from engine.printable import one_line

TIE = 1e-6
"""Unit vectors in float32 whose difference is no longer than this are equal up to rounding."""

_LONG = 100_000
"""Tokens of a text that is not to be truncated."""

_SHOWN = 5

Reason = Literal["name", "text", "truncated", "tokens", "vectors"]


@dataclass(frozen=True)
class Alike:
    """Classes of one vector.

    Attributes:
        classes: their indices, ascending, two at least.
        reason: ``name``: they have one name; ``text``: the settings make one text of their names
            (lower case); ``truncated``: their texts differ only in what the text encoder's
            ``max_tokens`` cuts off; ``tokens``: the tokenizer gives them the same ids;
            ``vectors``: the text encoder gives them the same vector.
    """

    classes: tuple[int, ...]
    reason: Reason


def notes_of(
    names: Sequence[str],
    vectors: Tensor,
    model: DualEncoder,
    tokenizer: Tokenizer,
    settings: ZeroShotSettings,
    *,
    refuse: bool = True,
) -> list[str]:
    """What a user must know of these classes, in words; empty where all can be distinguished.

    Args:
        names: [C] names.
        vectors: [C, J] float32, rows of length 1.
        model: that made the vectors.
        tokenizer: of its text encoder.
        settings: how names became texts.
        refuse: raise where all classes have one vector, so that no answer means anything.

    Raises:
        DataError: see ``refuse``.
    """
    limits = model.text.settings
    groups = find_alike(
        names, vectors, tokenizer, settings, limits.max_tokens, tolerance=tolerance_of(model)
    )
    for group in groups:
        if len(group.classes) == len(names) and refuse:
            raise DataError(
                f"the model cannot tell the {len(names):,} classes apart"
                f" ({_listed(names, group.classes)}): {_REASONS[group.reason]}",
                hint=_HINTS[group.reason],
            )
    notes = [
        f"classes that the model cannot tell apart ({_listed(names, group.classes)}):"
        f" {_REASONS[group.reason]}; an answer among them means nothing"
        for group in groups[:_SHOWN]
    ]
    if len(groups) > _SHOWN:
        more = sum(len(group.classes) for group in groups[_SHOWN:])
        notes.append(f"{more:,} more classes in {len(groups) - _SHOWN:,} groups of equal vectors")
    zero = without_direction(vectors)
    if zero:
        notes.append(
            f"classes whose vector is zero ({_listed(names, zero)}): they are as near to every"
            " image"
        )
    return notes


def tolerance_of(model: DualEncoder) -> float:
    """The length of a difference between unit vectors that rounding alone may make."""
    dtype = next((p.dtype for p in model.text.parameters() if p.is_floating_point()), torch.float32)
    return max(TIE, torch.finfo(dtype).eps)


def find_alike(
    names: Sequence[str],
    vectors: Tensor,
    tokenizer: Tokenizer,
    settings: ZeroShotSettings,
    max_tokens: int,
    *,
    tolerance: float = TIE,
) -> list[Alike]:
    """Groups of classes of equal vectors, each with the reason, by their first class."""
    found = []
    for classes in equal_rows(vectors.numpy(), tolerance):
        mine = [names[i] for i in classes]
        found.append(Alike(tuple(classes), _reason(mine, tokenizer, settings, max_tokens)))
    return found


def _reason(
    names: Sequence[str], tokenizer: Tokenizer, settings: ZeroShotSettings, max_tokens: int
) -> Reason:
    if len(set(names)) == 1:
        return "name"
    texts = prompts(names, settings)
    if _one(texts, len(names)):
        return "text"
    if not _one(tokenizer.encode(texts, max_tokens), len(names)):
        return "vectors"
    return "tokens" if _one(tokenizer.encode(texts, _LONG), len(names)) else "truncated"


def _one(rows: Sequence[object], classes: int) -> bool:
    """Whether every class's rows (one for each template) are those of the first class."""
    each = len(rows) // classes
    return all(rows[i] == rows[i % each] for i in range(len(rows)))


def equal_rows(rows: NDArray[np.float32], tolerance: float) -> list[list[int]]:
    """Indices of rows that are equal up to ``tolerance``, in groups of two at least.

    Equal rows have equal projections, so only rows whose projections on one direction are near
    are compared: sorting takes the place of all pairs. A row belongs to a group if it is equal to
    the group's first one in the order of the projections.
    """
    rows = rows.astype(np.float64)
    direction = np.asarray(np.random.default_rng(0).normal(size=rows.shape[1]))
    places = rows @ (direction / np.linalg.norm(direction))
    order = np.argsort(places, kind="stable")
    groups: list[list[int]] = []
    first = 0  # groups before this one are too far away
    for row in order.tolist():
        while first < len(groups) and places[row] - places[groups[first][0]] > tolerance:
            first += 1
        for group in groups[first:]:
            if np.linalg.norm(rows[row] - rows[group[0]]) <= tolerance:
                group.append(row)
                break
        else:
            groups.append([row])
    return sorted(sorted(group) for group in groups if len(group) > 1)


def _listed(names: Sequence[str], classes: Sequence[int]) -> str:
    shown = ", ".join(f"`{one_line(names[i], 40)}`" for i in classes[:_SHOWN])
    more = len(classes) - _SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown


_REASONS: dict[Reason, str] = {
    "name": "they have the same name",
    "text": "their names differ only in case or in white space, which `zero_shot.lower` drops",
    "truncated": "their texts are truncated before they differ: they have more tokens than the"
    " text encoder's `max_tokens`",
    "tokens": "the tokenizer gives them the same ids (it may not know their characters)",
    "vectors": "the text encoder gives them the same vector",
}
_HINTS: dict[Reason, str] = {
    "name": "give the classes different names",
    "text": "give the classes different names, or set `zero_shot.lower` to false",
    "truncated": "shorten the templates (`zero_shot.templates`), or set a larger `max_tokens`",
    "tokens": "name the classes in a language that the tokenizer was trained on",
    "vectors": "the weights of the text encoder have most likely collapsed, or are all zero",
}
