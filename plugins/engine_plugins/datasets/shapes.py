"""Drawn shapes with Russian queries: training data that exist on every machine.

12 shapes x 10 colours, each pair a class; a share of the pairs is never shown in training, and
the test asks for those. So the test can be passed only by who has learned shapes and colours apart.
"""

from __future__ import annotations

import random

from PIL.Image import Image

from engine.contracts import Dataset, Record
from engine_plugins.datasets.drawing import ON_LIGHT_ONLY, RADIUS, draw
from engine_plugins.datasets.russian import COLOURS, PLACES, SHAPES, Scene, class_name, queries
from engine_plugins.datasets.settings import ShapesSettings

Pair = tuple[str, str]
"""(shape, colour)."""


def split_pairs(seed: int, held_out: float) -> tuple[list[Pair], list[Pair]]:
    """The pairs that training shows, and those that it never shows; each in a fixed order.

    Pairs are held out along diagonals of a shuffled table: every shape loses equally many colours
    and none of the words is unknown to training. ``held_out`` is rounded to whole diagonals.
    """
    rng = random.Random(f"shapes:{seed}:pairs")
    shapes, colours = list(SHAPES), list(COLOURS)
    rng.shuffle(shapes)
    rng.shuffle(colours)
    diagonals = max(1, round(held_out * len(colours)))
    held = {
        (shape, colour)
        for i, shape in enumerate(shapes)
        for j, colour in enumerate(colours)
        if (i + j) % len(colours) < diagonals
    }
    every = [(shape, colour) for shape in SHAPES for colour in COLOURS]
    return [pair for pair in every if pair not in held], [pair for pair in every if pair in held]


class Shapes(Dataset):
    """Row i shows pair ``i % pairs``; all else about it follows from (seed, split, i).

    Classes are the Russian names of the split's pairs, «красный круг»; every row has its label and
    its queries.
    """

    def __init__(self, settings: ShapesSettings) -> None:
        self.settings = settings
        shown, held = split_pairs(settings.seed, settings.held_out)
        self.pairs = held if settings.split == "test" else shown
        self.name = "shapes_seen" if settings.split == "seen" else "shapes"
        self.classes = tuple(class_name(*pair) for pair in self.pairs)
        self._count = settings.count or (
            4000 if settings.split == "train" else 20 * len(self.pairs)
        )

    def __len__(self) -> int:
        return self._count

    def scene(self, index: int) -> Scene:
        """What row ``index`` shows."""
        shape, colour = self.pairs[self._label(index)]
        rng = self._rng("scene", index)
        return Scene(
            shape=shape,
            colour=colour,
            size=rng.choice(list(RADIUS)),  # type: ignore[arg-type]
            place=rng.choice(list(PLACES)),
            dark=colour not in ON_LIGHT_ONLY and rng.random() < 0.35,
        )

    def record(self, index: int) -> Record:
        """The row at an index: its id, texts and class."""
        label = self._label(index)
        name, *others = queries(self.scene(index))
        some = self._rng("queries", index).sample(others, self.settings.queries - 1)
        return Record(str(index), (name, *some), label)

    def image(self, index: int) -> Image:
        """The picture of a row."""
        return draw(self.scene(index), self.settings.size, self._rng("image", index))

    def _label(self, index: int) -> int:
        if not 0 <= index < self._count:
            raise IndexError(index)
        return index % len(self.pairs)

    def _rng(self, what: str, index: int) -> random.Random:
        """A stream of its own for each purpose, so that size changes no query."""
        return random.Random(f"shapes:{self.settings.seed}:{self.settings.split}:{what}:{index}")
