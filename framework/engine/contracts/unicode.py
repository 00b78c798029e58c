"""Unicode normalisation of texts from outside, in time that grows with their length alone."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Literal

LONGEST_RUN = 30
"""Combining marks in a row that stay (the limit of the Stream-Safe Text Format, UAX #15, section
13; no language needs as many)."""

_END = 0x20000  # no mark lies beyond it, and to look at every character takes a third of a second

Form = Literal["NFC", "NFD", "NFKC", "NFKD"]


def bounded_normalise(form: Form, text: str) -> str:
    """``unicodedata.normalize``, of a text whose runs of combining marks are bounded.

    Normalising sorts the marks of a run, which takes Python time quadratic in its length. So of
    each run only the first ``LONGEST_RUN`` marks stay, before and after; any other text gives what
    ``unicodedata.normalize`` gives.
    """
    if text.isascii():
        return text
    # Some characters become several marks: the result is bounded as well, so that twice is once.
    return _bounded(unicodedata.normalize(form, _bounded(text)))


def _bounded(text: str) -> str:
    if len(text) <= LONGEST_RUN:
        return text
    # A longer run covers one of these places at least, so that few characters are looked at.
    if _marks().isdisjoint(text[LONGEST_RUN :: LONGEST_RUN + 1]):
        return text
    return _long_run().sub(lambda run: run[0][:LONGEST_RUN], text)


@cache
def _marks() -> frozenset[str]:
    """What normalising sorts: characters that begin with a non-starter once they are decomposed.

    Some have no combining class of their own (U+0F73, U+FF9E).
    """
    return frozenset(filter(_is_mark, map(chr, range(_END))))


def _is_mark(char: str) -> bool:
    if unicodedata.combining(char):
        return True
    decomposed = unicodedata.decomposition(char)
    return bool(decomposed) and unicodedata.combining(unicodedata.normalize("NFKD", char)[0]) > 0


@cache
def _long_run() -> re.Pattern[str]:
    """More marks in a row than stay."""
    inside = "".join(map(re.escape, sorted(_marks())))
    return re.compile(f"[{inside}]{{{LONGEST_RUN + 1},}}")
