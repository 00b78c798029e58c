"""scikit-learn's handwritten digits with Russian names.

Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998; scikit-learn
ships its test part, 1797 scans of 8 x 8 pixels in 17 shades.
"""

from __future__ import annotations

import random

import numpy as np
from PIL import Image

from engine.contracts import Dataset, Record
from engine_plugins.datasets.settings import DigitsSettings

NAMES = (
    "ноль", "один", "два", "три", "четыре", "пять", "шесть", "семь", "восемь", "девять",
)  # fmt: skip

# The noun of each digit, nominative and instrumental: «пятёрка», «картинка с пятёркой».
NOUNS = (
    ("нолик", "ноликом"), ("единица", "единицей"), ("двойка", "двойкой"), ("тройка", "тройкой"),
    ("четвёрка", "четвёркой"), ("пятёрка", "пятёркой"), ("шестёрка", "шестёркой"),
    ("семёрка", "семёркой"), ("восьмёрка", "восьмёркой"), ("девятка", "девяткой"),
)  # fmt: skip


def queries(digit: int) -> list[str]:
    """Every query for a digit; all different, the class name is not among them."""
    name, (noun, with_noun) = NAMES[digit], NOUNS[digit]
    return [
        f"цифра {name}",
        noun,
        f"цифра {digit}",
        f"рукописная цифра {name}",
        f"картинка с {with_noun}",
        f"изображение цифры {name}",
    ]


class Digits(Dataset):
    """Scans of digits, dark ink on white, scaled up smoothly; classes «ноль» to «девять».

    The test is a random share of the scans, drawn by ``seed``.
    """

    name = "digits"
    classes = NAMES

    def __init__(self, settings: DigitsSettings) -> None:
        from sklearn.datasets import load_digits  # a second's import, and only here

        self.settings = settings
        scans, labels = load_digits(return_X_y=True)
        rows = list(range(len(labels)))
        random.Random(f"digits:{settings.seed}:split").shuffle(rows)
        held = max(1, min(len(rows) - 1, round(settings.held_out * len(rows))))
        rows = rows[:held] if settings.split == "test" else rows[held:]
        self._rows = np.asarray(rows[: settings.count])
        ink = np.asarray(scans)[self._rows].reshape(-1, 8, 8)  # 0 to 16
        self._pixels = (255 - ink * (255 / 16)).round().astype(np.uint8)
        self._labels = np.asarray(labels)[self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    def record(self, index: int) -> Record:
        """The row at an index: its id, texts and class."""
        label = int(self._labels[self._checked(index)])
        scan = int(self._rows[index])
        rng = random.Random(f"digits:{self.settings.seed}:queries:{scan}")
        return Record(str(scan), tuple(rng.sample(queries(label), self.settings.queries)), label)

    def image(self, index: int) -> Image.Image:
        """The picture of a row."""
        side = self.settings.size
        scan = Image.fromarray(self._pixels[self._checked(index)])
        return scan.resize((side, side), Image.Resampling.BICUBIC).convert("RGB")

    def _checked(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return index
