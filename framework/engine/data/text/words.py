"""What a word is to the statistics, and what is kept of each."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.contracts.unicode import bounded_normalise
from engine.data.text.characters import ALPHABETS, MARKS

_WORD = re.compile(rf"[\w{MARKS}]+")

CYRILLIC, LATIN, OTHER, DIGIT, BEYOND_RUSSIAN, ACCENTED = (1 << i for i in range(6))
"""What a word's characters are; a word's mask is the union."""
LETTERS = CYRILLIC | LATIN | OTHER

_RUSSIAN = frozenset(ALPHABETS["russian"])


def words_of(text: str) -> list[str]:
    """The words of a text: runs of letters, digits and combining marks, lower case, NFC.

    Everything else parts words: white space, punctuation, underscores, signs.
    """
    text = bounded_normalise("NFC", text)
    if "_" in text:
        text = text.replace("_", " ")
    found: list[str] = _WORD.findall(text.lower())
    return found


class _Masks(dict[str, int]):
    """The mask of each character, found when it is first met."""

    def __missing__(self, char: str) -> int:
        mask = _mask(char)
        if len(self) < 1 << 16:
            self[char] = mask
        return mask


def _mask(char: str) -> int:
    if char.isalpha():
        name = unicodedata.name(char, "")
        if name.startswith("CYRILLIC "):
            return CYRILLIC if char in _RUSSIAN else CYRILLIC | BEYOND_RUSSIAN
        if name.startswith("LATIN "):
            return LATIN if char.isascii() else LATIN | ACCENTED
        return OTHER
    return DIGIT if char.isnumeric() else 0


_MASKS = _Masks()


def mask_of(word: str) -> int:
    """The union of the masks of a word's characters."""
    mask = 0
    for char in set(word):
        mask |= _MASKS[char]
    return mask


@dataclass(frozen=True)
class Words:
    """The words of some texts, one after another.

    Attributes:
        hashes: uint64, of each word.
        masks: uint8, of each word.
        letters: int64, characters of each word.
    """

    hashes: NDArray[np.uint64]
    masks: NDArray[np.uint8]
    letters: NDArray[np.int64]


class Vocabulary(dict[str, int]):
    """Places of words in arrays of what is known of each; forgotten when there are too many."""

    def __init__(self, maximum: int = 200_000) -> None:
        super().__init__()
        self._most = maximum
        self._hashes, self._masks, self._letters = array("Q"), array("B"), array("q")

    def __missing__(self, word: str) -> int:
        digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
        self._hashes.append(int.from_bytes(digest, "little"))
        self._masks.append(mask_of(word))
        self._letters.append(len(word))
        self[word] = place = len(self)
        return place

    def look_up(self, words: Sequence[str]) -> Words:
        """What is known of each word, in order."""
        if len(self) > self._most:
            self.clear()
            self._hashes, self._masks, self._letters = array("Q"), array("B"), array("q")
        places = np.fromiter(map(self.__getitem__, words), np.int64, len(words))
        # Copies: an array that lends its memory to NumPy cannot grow.
        return Words(
            np.array(self._hashes, np.uint64)[places],
            np.array(self._masks, np.uint8)[places],
            np.array(self._letters, np.int64)[places],
        )
