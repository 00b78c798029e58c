"""Countries whose flag is stripes alone: name, genitive, direction of the stripes, their colours.

Source: the flags as the countries' laws describe them; of two that look the same (Chad and Romania,
Monaco and Indonesia) only one is here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

COLOURS = {
    "белая": (248, 248, 248),
    "чёрная": (16, 16, 16),
    "красная": (206, 34, 44),
    "синяя": (24, 52, 150),
    "голубая": (96, 176, 228),
    "зелёная": (12, 128, 72),
    "жёлтая": (252, 208, 24),
    "оранжевая": (246, 128, 24),
}
"""What a stripe («полоса», feminine) may be, as RGB."""


@dataclass(frozen=True)
class Country:
    """A country and its flag.

    Attributes:
        name: in the nominative.
        genitive: as in «флаг Франции».
        stripes: which way they lie.
        colours: of the stripes from the top or from the left, keys of ``COLOURS``.
    """

    name: str
    genitive: str
    stripes: Literal["horizontal", "vertical"]
    colours: tuple[str, ...]


def _country(name: str, genitive: str, direction: str, colours: str) -> Country:
    return Country(
        name,
        genitive,
        "horizontal" if direction == "h" else "vertical",
        tuple(colours.split()),
    )


COUNTRIES = (
    _country("Россия", "России", "h", "белая синяя красная"),
    _country("Германия", "Германии", "h", "чёрная красная жёлтая"),
    _country("Нидерланды", "Нидерландов", "h", "красная белая синяя"),
    _country("Люксембург", "Люксембурга", "h", "красная белая голубая"),
    _country("Австрия", "Австрии", "h", "красная белая красная"),
    _country("Венгрия", "Венгрии", "h", "красная белая зелёная"),
    _country("Болгария", "Болгарии", "h", "белая зелёная красная"),
    _country("Эстония", "Эстонии", "h", "голубая чёрная белая"),
    _country("Литва", "Литвы", "h", "жёлтая зелёная красная"),
    _country("Армения", "Армении", "h", "красная синяя оранжевая"),
    _country("Йемен", "Йемена", "h", "красная белая чёрная"),
    _country("Габон", "Габона", "h", "зелёная жёлтая голубая"),
    _country("Сьерра-Леоне", "Сьерра-Леоне", "h", "зелёная белая голубая"),
    _country("Украина", "Украины", "h", "голубая жёлтая"),
    _country("Польша", "Польши", "h", "белая красная"),
    _country("Индонезия", "Индонезии", "h", "красная белая"),
    _country("Франция", "Франции", "v", "синяя белая красная"),
    _country("Италия", "Италии", "v", "зелёная белая красная"),
    _country("Ирландия", "Ирландии", "v", "зелёная белая оранжевая"),
    _country("Бельгия", "Бельгии", "v", "чёрная жёлтая красная"),
    _country("Румыния", "Румынии", "v", "синяя жёлтая красная"),
    _country("Перу", "Перу", "v", "красная белая красная"),
    _country("Нигерия", "Нигерии", "v", "зелёная белая зелёная"),
    _country("Мали", "Мали", "v", "зелёная жёлтая красная"),
    _country("Гвинея", "Гвинеи", "v", "красная жёлтая зелёная"),
    _country("Кот-д’Ивуар", "Кот-д’Ивуара", "v", "оранжевая белая зелёная"),
)
