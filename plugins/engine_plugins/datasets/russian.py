"""Russian words for drawn shapes, in their cases and genders.

An adjective agrees with its noun: «красный круг», «красная звезда», «красное сердце», «картинка с
красной звездой». The endings below are those of school grammar; a test holds every phrase to a
table written out by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Gender = Literal["m", "f", "n"]
Case = Literal["nominative", "genitive", "accusative", "instrumental"]

_CASES: tuple[Case, ...] = ("nominative", "genitive", "accusative", "instrumental")


@dataclass(frozen=True)
class Noun:
    """A noun in four cases (singular); things, so the masculine accusative is the nominative."""

    gender: Gender
    nominative: str
    genitive: str
    accusative: str
    instrumental: str


@dataclass(frozen=True)
class Adjective:
    """An adjective: its stem, and the class of its endings."""

    stem: str
    kind: Literal["hard", "hard_stressed", "soft", "velar", "hushing_stressed"] = "hard"

    def form(self, gender: Gender, case: Case) -> str:
        """The form that agrees with a noun of this gender in this case (singular, a thing)."""
        return self.stem + _ENDINGS[self.kind][gender].split()[_CASES.index(case)]


# For each gender: nominative, genitive, accusative, instrumental.
_ENDINGS: dict[str, dict[Gender, str]] = {
    "hard": {"m": "ый ого ый ым", "f": "ая ой ую ой", "n": "ое ого ое ым"},
    "hard_stressed": {"m": "ой ого ой ым", "f": "ая ой ую ой", "n": "ое ого ое ым"},
    "soft": {"m": "ий его ий им", "f": "яя ей юю ей", "n": "ее его ее им"},
    "velar": {"m": "ий ого ий им", "f": "ая ой ую ой", "n": "ое ого ое им"},
    "hushing_stressed": {"m": "ой ого ой им", "f": "ая ой ую ой", "n": "ое ого ое им"},
}

SHAPES: dict[str, Noun] = {
    "circle": Noun("m", "круг", "круга", "круг", "кругом"),
    "square": Noun("m", "квадрат", "квадрата", "квадрат", "квадратом"),
    "triangle": Noun("m", "треугольник", "треугольника", "треугольник", "треугольником"),
    "rhombus": Noun("m", "ромб", "ромба", "ромб", "ромбом"),
    "hexagon": Noun("m", "шестиугольник", "шестиугольника", "шестиугольник", "шестиугольником"),
    "cross": Noun("m", "крест", "креста", "крест", "крестом"),
    "crescent": Noun("m", "полумесяц", "полумесяца", "полумесяц", "полумесяцем"),
    "star": Noun("f", "звезда", "звезды", "звезду", "звездой"),
    "arrow": Noun("f", "стрелка", "стрелки", "стрелку", "стрелкой"),
    "drop": Noun("f", "капля", "капли", "каплю", "каплей"),
    "heart": Noun("n", "сердце", "сердца", "сердце", "сердцем"),
    "ring": Noun("n", "кольцо", "кольца", "кольцо", "кольцом"),
}

COLOURS: dict[str, Adjective] = {
    "red": Adjective("красн"),
    "orange": Adjective("оранжев"),
    "yellow": Adjective("жёлт"),
    "green": Adjective("зелён"),
    "light_blue": Adjective("голуб", "hard_stressed"),
    "blue": Adjective("син", "soft"),
    "violet": Adjective("фиолетов"),
    "pink": Adjective("розов"),
    "brown": Adjective("коричнев"),
    "black": Adjective("чёрн"),
}

SMALL = Adjective("маленьк", "velar")
LARGE = Adjective("больш", "hushing_stressed")

PLACES: dict[tuple[int, int], tuple[str, str]] = {
    (-1, -1): ("слева вверху", "в левом верхнем углу"),
    (0, -1): ("вверху", "в верхней части"),
    (1, -1): ("справа вверху", "в правом верхнем углу"),
    (-1, 0): ("слева", "с левой стороны"),
    (0, 0): ("в центре", "посередине"),
    (1, 0): ("справа", "с правой стороны"),
    (-1, 1): ("слева внизу", "в левом нижнем углу"),
    (0, 1): ("внизу", "в нижней части"),
    (1, 1): ("справа внизу", "в правом нижнем углу"),
}
"""Two ways to name each place; a place is (column, row), -1 is left and top."""


@dataclass(frozen=True)
class Scene:
    """What a picture shows, as keys of the tables above; ``size`` is small, medium or large."""

    shape: str
    colour: str
    size: Literal["small", "medium", "large"]
    place: tuple[int, int]
    dark: bool

    def coloured(self, case: Case = "nominative") -> str:
        """«красный круг» in a case."""
        noun = SHAPES[self.shape]
        return f"{COLOURS[self.colour].form(noun.gender, case)} {getattr(noun, case)}"

    def sized(self, case: Case = "nominative") -> str:
        """«маленький красный круг», «красный круг среднего размера»."""
        if self.size == "medium":
            return f"{self.coloured(case)} среднего размера"
        adjective = SMALL if self.size == "small" else LARGE
        return f"{adjective.form(SHAPES[self.shape].gender, case)} {self.coloured(case)}"


def class_name(shape: str, colour: str) -> str:
    """«красный круг»: the name of a class."""
    return Scene(shape, colour, "medium", (0, 0), dark=False).coloured()


def with_(words: str) -> str:
    """«с кругом», «со звездой»: the preposition takes an «о» before с, з, ш, ж + consonant."""
    vowels = "аеёиоуыэюя"
    clash = words[0] in "сзшж" and words[1] not in vowels
    return f"{'со' if clash else 'с'} {words}"


def queries(scene: Scene) -> list[str]:
    """Every query that this grammar has for a scene; all different, the class name first."""
    noun = SHAPES[scene.shape]
    colour = COLOURS[scene.colour]
    near, far = PLACES[scene.place]
    named = scene.coloured()
    background = "на тёмном фоне" if scene.dark else "на светлом фоне"
    return [
        named,
        scene.sized(),
        f"{scene.sized()} {near}",
        f"{near} {scene.sized()}",
        f"{named} {far}",
        f"{far} {named}",
        f"{named} {background}",
        f"{noun.nominative} {colour.form('m', 'genitive')} цвета",
        f"{noun.nominative} {colour.form('m', 'genitive')} цвета {near}",
        f"{noun.nominative} {colour.form(noun.gender, 'nominative')} {near}",
        f"картинка {with_(scene.coloured('instrumental'))}",
        f"картинка {with_(noun.instrumental)} {colour.form('m', 'genitive')} цвета",
        f"рисунок {scene.sized('genitive')}",
        f"изображение {scene.coloured('genitive')} {background}",
        f"нарисовать {scene.coloured('accusative')}",
        f"нарисуй {scene.sized('accusative')} {near}",
    ]
