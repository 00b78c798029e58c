"""A dataset to begin with."""

from __future__ import annotations

from engine.scaffold.kind import PackageKind

SETTINGS = '''\
"""What a config may say to `$name`. Every command reads this, so it imports no torch."""

from __future__ import annotations

from typing import Literal

from engine.contracts import DatasetSettings
from pydantic import Field


class ${class_name}Settings(DatasetSettings):
    """$title."""

    split: Literal["train", "test"] = Field(
        "train", description="`test`: the pairs of colours that training never shows"
    )
    count: int | None = Field(
        None, ge=1, description="number of images (default: 2000 in train, 280 in test)"
    )
    seed: int = Field(0, ge=0, description="of the pictures")
    size: int = Field(64, ge=8, le=1024, description="side of an image, in pixels")
'''

PLUGIN = '''\
"""`$name`: images with queries.

Its contract: engine/contracts/dataset.py.
"""

from __future__ import annotations

import random
from itertools import permutations

from engine.contracts import Dataset, Record
from PIL import Image

from .settings import ${class_name}Settings

COLOURS = {
    "красный": (214, 40, 40),
    "оранжевый": (245, 130, 30),
    "жёлтый": (250, 212, 40),
    "зелёный": (40, 150, 70),
    "синий": (30, 70, 190),
    "белый": (245, 245, 245),
    "серый": (128, 128, 128),
    "чёрный": (20, 20, 24),
}


class $class_name(Dataset):
    """$title.

    Reading row i always gives the same row: all that is random follows from seed, split and i.
    """

    def __init__(self, settings: ${class_name}Settings) -> None:
        self.settings, self.name = settings, "$name"
        test = settings.split == "test"
        pairs = enumerate(permutations(COLOURS, 2))
        self.pairs = [pair for number, pair in pairs if (number % 4 == 0) == test]
        self.classes = tuple(f"{above} сверху, {below} снизу" for above, below in self.pairs)
        self.count = settings.count or (280 if test else 2000)

    def __len__(self) -> int:
        return self.count

    def record(self, index: int) -> Record:
        """The texts of a row, without its image."""
        label = self.label(index)
        above, below = self.pairs[label]
        return Record(str(index), (self.classes[label], f"{below} под: {above}"), label)

    def image(self, index: int) -> Image.Image:
        """The image of a row, RGB."""
        above, below = self.pairs[self.label(index)]
        settings, size = self.settings, self.settings.size
        rng = random.Random(f"{settings.seed}:{settings.split}:{index}")
        picture = Image.new("RGB", (size, size), COLOURS[above])
        border = round(size * rng.uniform(0.3, 0.7))
        picture.paste(COLOURS[below], (0, border, size, size))
        return picture

    def label(self, index: int) -> int:
        """The class of a row."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        return index % len(self.pairs)
'''

PACKAGE = PackageKind(
    file="dataset",
    contract="Dataset",
    contract_module="engine.contracts.dataset",
    summary="pictures of two colours, some pairs never shown in training",
    settings=SETTINGS,
    plugin=PLUGIN,
    slots={"train": "{use: $name}", "evaluate": "{use: $name, split: test}"},
    data="$name",
)
