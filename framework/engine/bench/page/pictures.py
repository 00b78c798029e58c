"""Which images the page shows, and how: small pictures, shared by all entries, bounded in bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image, features

from engine.bench.results import DatasetAnswers, EntryAnswers
from engine.data.pictures import rgb
from engine.errors import BrokenImageError

Picture = Callable[[str, str], Image.Image | None]
"""Data set and image id -> the image; ``None`` where it is not to be had."""

THUMBNAIL = 240
"""Longest side, in pixels."""

BUDGET = 2_000_000
"""Most characters that all pictures together take on the page."""

EACH = 16
"""Mistakes that are shown of an entry on a data set, where there are so many."""


@dataclass(frozen=True)
class ShownPicture:
    """An image on the page.

    Attributes:
        dataset: its data set's name.
        id: the image's.
        label: the right class.
        source: a data URI.
    """

    dataset: str
    id: str
    label: int
    source: str


def choose(
    answers: Mapping[str, EntryAnswers], picture: Picture, *, each: int = EACH, budget: int = BUDGET
) -> list[ShownPicture]:
    """Choose pictures that entries were wrong about.

    Entries and data sets take turns. Each takes one of its mistakes that nobody has taken: from
    every true class in turn, first those that another entry got right, of these the surest. Where
    enough of its mistakes are on the page already, taken by others, it passes. Same answers, same
    choice.

    Args:
        answers: of each entry.
        picture: gives an image.
        each: mistakes of an entry on a data set that suffice.
        budget: most characters of all data URIs together.
    """
    solved = _solved(answers)
    queues = {
        (name, entry): _mistakes(found, solved[name])
        for entry, all_ in answers.items()
        for name, found in all_.datasets.items()
    }
    wrong = {key: {image for image, _ in queue} for key, queue in queues.items()}
    left = {key: iter(queue) for key, queue in queues.items()}
    seen: dict[str, set[str]] = {}
    shown: list[ShownPicture] = []
    while left:
        for key in list(left):
            name, _ = key
            taken = seen.setdefault(name, set())
            there = sum(s.dataset == name and s.id in wrong[key] for s in shown)
            found = None if there >= each else _next(left[key], name, taken, picture)
            if found is None:
                del left[key]
                continue
            budget -= len(found.source)
            if budget < 0:
                return shown
            shown.append(found)
    return shown


def _next(
    queue: Iterator[tuple[str, int]], name: str, taken: set[str], picture: Picture
) -> ShownPicture | None:
    """The next picture that is nobody's yet and can be read."""
    for image, label in queue:
        if image in taken:
            continue
        taken.add(image)
        try:
            found = picture(name, image)
            if found is not None:
                return ShownPicture(name, image, label, data_uri(found))
        except BrokenImageError:
            continue
    return None


def _solved(answers: Mapping[str, EntryAnswers]) -> dict[str, set[str]]:
    """By data set, the images that at least one entry got right."""
    solved: dict[str, set[str]] = {}
    for all_ in answers.values():
        for name, found in all_.datasets.items():
            right = (image for image, label, answer in rows(found) if answer and answer[0] == label)
            solved.setdefault(name, set()).update(right)
    return solved


def _mistakes(found: DatasetAnswers, solved: set[str]) -> list[tuple[str, int]]:
    """Images with a wrong answer and their labels, in the order in which they are worth showing."""
    classes: dict[int, list[tuple[bool, float, str]]] = {}
    for image, label, answer in rows(found):
        if label >= 0 and answer is not None and answer[0] != label:
            group = classes.setdefault(label, [])
            group.append((image not in solved, -(answer[1] or 0.0), image))
    ordered = [
        (turn, *worth, label)
        for label, group in classes.items()
        for turn, worth in enumerate(sorted(group))
    ]
    return [(image, label) for _, _, _, image, label in sorted(ordered)]


def rows(
    found: DatasetAnswers,
) -> Iterator[tuple[str, int, tuple[int, float | None] | None]]:
    """Image id, label, and the best answer with its probability (where known)."""
    chances: Any = found.probabilities or [()] * len(found.ids)
    for image, label, top, chance in zip(found.ids, found.labels, found.top, chances, strict=True):
        yield image, label, (top[0], chance[0] if chance else None) if top else None


def data_uri(image: Image.Image) -> str:
    """A small picture of an image; WebP where Pillow can write it, which is smaller than JPEG."""
    small = rgb(image).copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    kind = "webp" if features.check("webp") else "jpeg"
    small.save(buffer, kind, quality=72)
    return f"data:image/{kind};base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
