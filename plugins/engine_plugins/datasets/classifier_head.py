"""The classes of an image classifier as data: a row of its last layer a class, with names.

A class's row, centred and of length 1, stands where the features of its pictures stand: a
prototype that no picture is needed for.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.contracts import ActivationPoint, Dataset, Record
from engine.core.fingerprint import tower_fingerprint
from engine.core.weights import fetch
from engine.errors import DataError
from engine_plugins.datasets.settings import ClassifierHeadSettings
from engine_plugins.vision.timm import TimmVision

_MAX_BYTES = 64 << 20
_DEFINITION = 2.0
"""What a class's definition counts where its names, which count 1 together, stand beside it."""
_SUBSETS = {1000: "imagenet-1k", 11821: "imagenet-12k", 21841: "imagenet-22k",
            21843: "imagenet-21k-goog", 11221: "imagenet-21k-miil"}  # fmt: skip
"""timm's names of the classes, by how many classes a head has."""


class ClassifierHead(Dataset):
    """A row a class: its vector at ``image.pooled``, its names as queries.

    The mean of all rows is taken off each (it says the same of every class), and each gets length
    1. Names are timm's of ImageNet (English; the tower's own record says of how many classes), or
    those of a file.
    """

    has_images = False

    def __init__(self, settings: ClassifierHeadSettings) -> None:
        self.settings = settings
        use = settings.tower
        tower = use.create()
        if not isinstance(tower, TimmVision):
            raise DataError(
                f"classifier_head: `{use.name}` is not a model of timm, whose heads are known"
            )
        source = use.settings.weights.from_
        if source == "scratch":
            raise DataError(
                "classifier_head: the tower has no weights, so its head means nothing",
                hint="name them in `tower.weights.from`",
            )
        tensors = fetch(source, "vision", use.settings.preferred_files)
        rows = tower.classifier(tensors)
        if rows is None:
            raise DataError(
                f"classifier_head: {source} has no classifier of {tower.width} numbers a class",
                hint="take weights that were trained to classify, with their last layer",
            )
        tower.load_weights(tensors, source)
        self.name = f"classes of {tower.settings.arch}"
        self.activations = ActivationPoint(tower.width, tower_fingerprint(tower))
        centred = rows.numpy() - rows.numpy().mean(axis=0)
        length = np.linalg.norm(centred, axis=1, keepdims=True)
        self._rows: NDArray[np.float32] = (centred / np.maximum(length, 1e-12)).astype(np.float32)
        self._names = _names(settings, len(rows))
        self.classes = _different(_titles(settings, self._names))

    def __len__(self) -> int:
        return len(self._rows)

    def record(self, index: int) -> Record:
        """The row at an index: its id, texts and class."""
        names = self._names[self._checked(index)]
        weights: tuple[float, ...] = ()
        if self.settings.names is None and self.settings.texts == "both":
            weights = (_DEFINITION, *(1 / (len(names) - 1) for _ in names[1:]))
        languages = (self.settings.language,) * len(names)
        return Record(str(index), names, languages=languages, text_weights=weights)

    def activation(self, index: int) -> NDArray[np.float32]:
        """The vector of a row, [W] float32."""
        row: NDArray[np.float32] = self._rows[self._checked(index)]
        return row

    def _checked(self, index: int) -> int:
        if not 0 <= index < len(self._rows):
            raise IndexError(index)
        return index


def _titles(settings: ClassifierHeadSettings, names: list[tuple[str, ...]]) -> list[str]:
    """A name for each class: all its names, with commas between them."""
    if settings.names is None:
        names = _of_timm(len(names), "names")
    return [", ".join(each) for each in names]


def _different(titles: list[str]) -> tuple[str, ...]:
    """Each title once: ImageNet has two sorts of cranes."""
    seen: dict[str, int] = {}
    found = []
    for title in titles:
        seen[title] = seen.get(title, 0) + 1
        found.append(title if seen[title] == 1 else f"{title}, {seen[title]}")
    return tuple(found)


def _names(settings: ClassifierHeadSettings, count: int) -> list[tuple[str, ...]]:
    """The texts of each class."""
    if settings.names is None:
        return _of_timm(count, settings.texts)
    found = _of_file(settings.names)
    if len(found) != count:
        raise DataError(
            f"classifier_head: {settings.names} names {len(found):,} classes, the head has"
            f" {count:,}"
        )
    for number, names in enumerate(found):
        if not any(name.strip() for name in names):
            raise DataError(f"classifier_head: {settings.names}: class {number} has no name")
    return found


def _of_timm(count: int, texts: str) -> list[tuple[str, ...]]:
    subset = _SUBSETS.get(count)
    if subset is None:
        raise DataError(
            f"classifier_head: timm has no names for a head of {count:,} classes",
            hint="name a file of them: `names: CLASSES.json`, a JSON list in the head's order",
        )
    from timm.data import ImageNetInfo

    info = ImageNetInfo(subset)
    found: list[tuple[str, ...]] = []
    for number in range(count):
        definition = info.index_to_description(number, detailed=True)
        lemmas = [name.strip() for name in info.index_to_description(number).split(",")]
        if texts == "definitions":
            found.append((definition,))
        else:
            found.append((definition, *lemmas) if texts == "both" else tuple(lemmas))
    return found


def _of_file(path: Path) -> list[tuple[str, ...]]:
    """A JSON list of names or of lists of names; or a text, a class a line, tabs between names."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"classifier_head: {path} has more than {_MAX_BYTES >> 20} MiB")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"classifier_head: {path} cannot be read: {error}") from error
    if not text.lstrip().startswith("["):
        return [tuple(line.split("\t")) for line in text.splitlines() if line.strip()]
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"classifier_head: {path} is not JSON: {error}") from error
    rows = [[one] if isinstance(one, str) else one for one in found]
    if not all(isinstance(row, list) and all(isinstance(n, str) for n in row) for row in rows):
        raise DataError(f"classifier_head: {path} is not a list of names, nor of lists of names")
    return [tuple(row) for row in rows]
