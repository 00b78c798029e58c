"""Classes of characters, taken from Python's own Unicode database when they are first needed."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache

SCRIPTS: dict[str, tuple[str, ...]] = {
    "cyrillic": ("CYRILLIC ",),
    "latin": ("LATIN ",),
    "greek": ("GREEK ",),
    "armenian": ("ARMENIAN ",),
    "georgian": ("GEORGIAN ",),
    "hebrew": ("HEBREW ",),
    "arabic": ("ARABIC ",),
    "devanagari": ("DEVANAGARI ",),
    "thai": ("THAI ",),
    "han": ("CJK ",),
    "kana": ("HIRAGANA ", "KATAKANA "),
    "hangul": ("HANGUL ",),
}
"""Scripts by how the Unicode names of their characters begin."""

ALPHABETS: dict[str, str] = {
    "russian": "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",
    "english": "abcdefghijklmnopqrstuvwxyz",
}
"""Alphabets: less than the script that they are written in."""

_END = 0x20000  # beyond it: rare Han characters, and tags

MARKS = "\u0300-\u036f\u0483-\u0489"
"""Combining marks of alphabets, as a range of a regular expression: stress, titlo, accents that no
letter of its own has."""


def ranges(points: Iterable[int]) -> str:
    """Ascending code points as the inside of a regular expression's ``[...]``."""
    found: list[list[int]] = []
    for point in points:
        if found and point == found[-1][1] + 1:
            found[-1][1] = point
        else:
            found.append([point, point])
    return "".join(
        re.escape(chr(a)) if a == b else f"{re.escape(chr(a))}-{re.escape(chr(b))}"
        for a, b in found
    )


@cache
def script(name: str) -> str:
    """The letters (and the marks, where the script has its own) of a script or an alphabet.

    Raises:
        KeyError: neither ``SCRIPTS`` nor ``ALPHABETS`` has it.
    """
    if name in ALPHABETS:
        letters = ALPHABETS[name]
        return ranges(sorted({ord(c) for c in letters + letters.upper()}))
    prefixes = SCRIPTS[name]
    return ranges(
        point
        for point in range(_END)
        if unicodedata.category(chr(point))[0] in "LM"
        and unicodedata.name(chr(point), "").startswith(prefixes)
    )


def _category(test: Callable[[str], bool]) -> str:
    return ranges(point for point in range(_END) if test(unicodedata.category(chr(point))))


@cache
def punctuation() -> str:
    """Punctuation and symbols (emoji too): the categories P and S."""
    return _category(lambda category: category[0] in "PS")


@cache
def invisible() -> str:
    """What is not seen and parts no words: zero width, direction marks, soft hyphens, variants.

    The categories Cf, Co (private use) and Cs, and the variation selectors.
    """
    beyond = "\ufe00-\ufe0f\U000e0000-\U000e0fff"  # variation selectors, tags
    return _category(lambda category: category in ("Cf", "Co", "Cs")) + beyond


@cache
def control() -> str:
    """Control characters: category Cc, tabs and line ends among them."""
    return _category(lambda category: category == "Cc")
