"""Pictures of striped flags, drawn on the fly."""

from __future__ import annotations

import random

from PIL import Image, ImageDraw

from engine.contracts import Dataset, Record

from .countries import COLOURS, COUNTRIES, Country
from .settings import FlagsSettings


def queries(country: Country) -> list[str]:
    """What people ask for who want to see this flag; the class name first."""
    way = "горизонтальные" if country.stripes == "horizontal" else "вертикальные"
    stripes = ", ".join(country.colours)
    return [
        f"флаг {country.genitive}",
        f"{country.name} флаг",
        f"{way} полосы: {stripes}",
        f"флаг {country.genitive}, {way} полосы: {stripes}",
    ]


class Flags(Dataset):
    """Row i shows country ``i % countries``; all else follows from (seed, split, i)."""

    name = "flags"

    def __init__(self, settings: FlagsSettings) -> None:
        self.settings = settings
        self.classes = tuple(queries(country)[0] for country in COUNTRIES)
        usual = 1200 if settings.split == "train" else 10 * len(COUNTRIES)
        self._count = settings.count or usual

    def __len__(self) -> int:
        return self._count

    def record(self, index: int) -> Record:
        """The name and two other queries."""
        label = self._label(index)
        name, *others = queries(COUNTRIES[label])
        return Record(str(index), (name, *self._rng("queries", index).sample(others, 2)), label)

    def image(self, index: int) -> Image.Image:
        """The flag, two thirds as high as it is wide, on a grey ground: RGB, a square."""
        country, rng = COUNTRIES[self._label(index)], self._rng("image", index)
        size = self.settings.size
        picture = Image.new("RGB", (size, size), (rng.randint(90, 170),) * 3)
        pen = ImageDraw.Draw(picture)
        light = rng.uniform(0.75, 1.0)
        width = round(size * rng.uniform(0.75, 1.0))
        height = round(width * rng.uniform(0.6, 0.75))
        left, top = rng.randint(0, size - width), rng.randint(0, size - height)
        stripes = len(country.colours)
        for number, colour in enumerate(country.colours):
            first, last = number / stripes, (number + 1) / stripes
            if country.stripes == "horizontal":
                box = (left, top + first * height, left + width - 1, top + last * height - 1)
            else:
                box = (left + first * width, top, left + last * width - 1, top + height - 1)
            red, green, blue = (round(light * part) for part in COLOURS[colour])
            pen.rectangle([round(side) for side in box], fill=(red, green, blue))
        return picture

    def _label(self, index: int) -> int:
        if not 0 <= index < self._count:
            raise IndexError(index)
        return index % len(COUNTRIES)

    def _rng(self, what: str, index: int) -> random.Random:
        return random.Random(f"flags:{self.settings.seed}:{self.settings.split}:{what}:{index}")
