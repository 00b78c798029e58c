"""Dictionary forms of Russian words, by pymorphy3 (an optional extra)."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

from engine.data.text.characters import MARKS
from engine.errors import DataError

_MARK = f"[{MARKS}\u00ad\u200b-\u200d\u2060\ufeff]"
_JOINER = "[-'`\u2019\u02bc\u2010\u2011]"
_TOKEN = re.compile(rf"[^\W_](?:[^\W_]|{_MARK}|{_JOINER}(?=[^\W_]))*")
"""What is written together: letters and digits of any script, with combining marks and characters
without width, and with hyphens and apostrophes between them."""

_WORD = re.compile(r"(?=.*[а-яё]{2})[а-яё]+(?:-[а-яё]+)*", re.IGNORECASE)
"""A whole token that is a Russian word. A single letter is none: it is a size, a unit, a mark."""

_CACHE = 200_000
_LONGEST = 60  # the analyser guesses at endings; beyond any word, that is time for nothing


class _Settings(Protocol):
    score: float


def lemmas(settings: _Settings) -> Callable[[str], str]:
    """Every Russian word in its dictionary form where the analyser is sure enough.

    Only whole words change: in ``3д``, ``wi-fi-роутеры`` or ``кот2`` nothing does, nor in a word
    with letters that Russian does not have (``київські``), and single letters stay.

    The scores of all readings with the same form are added up: whether ``кроссовки`` is nominative
    or accusative (0.5 each) changes nothing in its form. The contest's entry asked the first
    reading alone, and so left a large part of the nouns as they were.

    Each worker loads the dictionary (about 15 MB) and keeps the last 200,000 words.

    Raises:
        DataError: pymorphy3 or its dictionary is not installed.
    """
    try:
        analyzer = importlib.import_module("pymorphy3").MorphAnalyzer(lang="ru")
    except (ImportError, ValueError) as error:  # ValueError: no dictionary
        raise DataError(
            f"the step `lemmas` needs pymorphy3 and its Russian dictionary ({error})",
            hint="pip install 'engine-towers[text]', or leave the step out",
        ) from error

    @lru_cache(_CACHE)
    def lemma(word: str) -> str:
        scores: dict[str, float] = {}
        for reading in analyzer.parse(word):
            form = reading.normal_form
            scores[form] = scores.get(form, 0.0) + reading.score
        best = max(scores, key=scores.__getitem__)
        return best if scores[best] >= settings.score - 1e-9 else word

    def replace(match: re.Match[str]) -> str:
        word = match[0]
        return lemma(word) if len(word) <= _LONGEST and _WORD.fullmatch(word) else word

    return lambda text: _TOKEN.sub(replace, text)
