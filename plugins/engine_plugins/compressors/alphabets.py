"""The characters that texts in a language, or in a script, are written with.

The letters of each language are CLDR's exemplar characters, the main and the auxiliary ones, with
its punctuation beyond ASCII; they lie in ``alphabets.txt`` beside this module, so that the same
command keeps the same tokens on every machine. Source: Unicode CLDR, ``common/main`` (UTS #35, part
2, "Exemplars"), under the Unicode License V3.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from engine.contracts.unicode import bounded_normalise
from engine.errors import ConfigError, did_you_mean

_FILE = Path(__file__).with_name("alphabets.txt")

COMMON = frozenset(
    [chr(code) for code in range(0x20, 0x7F) if not chr(code).isalpha()]
    + list("\t\n\r\u00a0\u202f«»“”„‘’‚‐‑–—…·•°±×÷№§©®™€£¥₽‰′″²³½¼¾¡¿\u200d\ufe0f")
)
"""Digits, punctuation and signs that stand in texts of every language."""


@cache
def _languages() -> dict[str, frozenset[str]]:
    found = {}
    for line in _FILE.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            code, letters, punctuation = line.split("\t")
            found[code] = frozenset(_characters(letters) + _characters(punctuation))
    return found


def _characters(text: str) -> list[str]:
    """``"a-dx"`` -> a, b, c, d, x."""
    found: list[str] = []
    place = 0
    while place < len(text):
        if text[place + 1 : place + 2] == "-":
            found += map(chr, range(ord(text[place]), ord(text[place + 2]) + 1))
            place += 3
        else:
            found.append(text[place])
            place += 1
    return found


def languages() -> list[str]:
    """The codes of the languages that are known, in order."""
    return sorted(_languages())


@cache
def _scripts() -> dict[str, frozenset[str]]:
    """Letters and marks by the first word of their Unicode names."""
    found: dict[str, set[str]] = {}
    for code in range(0x80, sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.category(character)[0] in "LM" and (name := script_of(character)):
            found.setdefault(name, set()).add(character)
    found["Latin"] |= {chr(code) for code in range(0x80) if chr(code).isalpha()}
    return {name: frozenset(characters) for name, characters in found.items()}


def script_of(character: str) -> str:
    """The script of a letter, ``"Cyrillic"``; empty for what is not a letter or has no name."""
    name = unicodedata.name(character, "")
    first = name.split(" ")[0].split("-")[0]
    if not character.isalpha() and unicodedata.category(character)[0] != "M":
        return ""
    return "Han" if first == "CJK" else first.capitalize()


def scripts_in(texts: Iterable[str]) -> list[str]:
    """The scripts of the letters in texts, in order."""
    letters = {character for text in texts for character in text if character.isalpha()}
    return sorted({script_of(letter) for letter in letters} - {""})


def letters_of(names: Sequence[str]) -> set[str]:
    """Every character of texts in these languages or scripts, in both cases, with ``COMMON``.

    Accented letters may also be spelled with combining marks.

    Args:
        names: codes such as ``ru``, or names of scripts such as ``Cyrillic``.

    Raises:
        ConfigError: a name is neither.
    """
    found = set(COMMON)
    for name in names:
        own = _languages().get(name.lower())
        if own is None and name[:1].isupper():
            own = _scripts().get(name.capitalize())
        if own is None:
            known = languages()
            raise ConfigError(
                f"`{name}` is neither a language whose letters are known nor a script"
                f"{did_you_mean(name, known)}",
                hint=f"languages: {', '.join(known)}; scripts have names such as Cyrillic, Latin,"
                " Greek, Arabic, Han",
            )
        for character in own:
            for form in (character, character.upper(), character.lower(), character.title()):
                found |= {*form, *bounded_normalise("NFD", form)}
    return found
