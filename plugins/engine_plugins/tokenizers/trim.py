"""Trimming a vocabulary: which tokens some characters can spell, and a tokenizer of these alone.

Nothing changes for texts of these characters, because what a tokenizer joins or finds in a text is
always a part of that text: a token that the characters cannot spell is never found there, and a
merge that makes one never applies. Source of the idea: Ushio et al., 2023, arXiv:2305.15020
(vocabulary trimming, there by a corpus).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.contracts.unicode import bounded_normalise

Document = dict[str, Any]
"""The JSON of the library `tokenizers`."""

_BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")
_ASCII = frozenset(map(chr, range(0x80)))


@dataclass(frozen=True)
class Spelling:
    """How the tokens of a vocabulary are spelled.

    Attributes:
        prefix: stands before a token inside of a word (``##``).
        suffix: stands behind a token at a word's end (``</w>``).
        space: the character for the space, which is always allowed.
        alphabet: the character for each byte, of byte-level vocabularies; else ``None``.
    """

    prefix: str = ""
    suffix: str = ""
    space: str = ""
    alphabet: Mapping[str, int] | None = None

    def bare(self, token: str) -> str:
        """The token without prefix and suffix."""
        if self.prefix and token.startswith(self.prefix) and token != self.prefix:
            token = token[len(self.prefix) :]
        return token.removesuffix(self.suffix) if self.suffix else token


def closed(letters: Collection[str], normalise: Callable[[str], str]) -> set[str]:
    """The characters that a text of ``letters`` can hold once it is normalised.

    Letters alone, inside of a word, and with the combining marks among them.

    Args:
        letters: single characters.
        normalise: what happens to a text before it is split.
    """
    found, new = set(letters), set(letters)
    while new:
        marks = [c for c in found if unicodedata.combining(c)]
        made: set[str] = set()
        for letter in new:
            made |= {*normalise(letter), *normalise(f"a{letter}"), *normalise(f"a{letter}a")}
            for mark in marks:
                if len(bounded_normalise("NFKC", letter + mark)) == 1:
                    made |= {
                        *normalise(letter + mark),
                        *bounded_normalise("NFKC", letter + mark),
                    }
        if any(unicodedata.combining(c) for c in new):
            for letter in found - new:
                for mark in (c for c in new if unicodedata.combining(c)):
                    composed = bounded_normalise("NFKC", letter + mark)
                    if len(composed) == 1:
                        made |= {*normalise(letter + mark), composed}
        new = made - found
        found |= new
    return found


class Speller:
    """Tells which tokens some characters can spell.

    Args:
        characters: all that a normalised text can hold.
        spelling: of the vocabulary.
    """

    def __init__(self, characters: Collection[str], spelling: Spelling) -> None:
        self._spelling = spelling
        self._characters = {*characters, *spelling.space}
        encoded = [c.encode("utf-8", "surrogatepass") for c in characters]
        self._ends = {e[i:] for e in encoded for i in range(1, len(e))}
        self._begins = {e[:i] for e in encoded for i in range(1, len(e))}
        self._inside = {
            e[i:j] for e in encoded for i in range(len(e)) for j in range(i, len(e) + 1)
        }

    def spells(self, token: str) -> bool:
        """Whether a token may be found in a text of the characters, or is a part that must stay."""
        bare = self._spelling.bare(token)
        alphabet = self._spelling.alphabet
        if alphabet is None:
            if " " in bare:  # marks and fillers, which no text can spell
                return False
            if len(bare) == 1 and bare in _ASCII:
                return True
            return bool(bare) and all(character in self._characters for character in bare)
        if len(bare) <= 1:  # a single byte
            return True
        if not all(character in alphabet for character in bare):
            return False
        return self._spells_bytes(bytes(alphabet[character] for character in bare))

    def _spells_bytes(self, data: bytes) -> bool:
        """The end of a character, whole characters, the beginning of one: any may be missing."""
        if data in self._inside:
            return True
        start = 0
        while start < len(data) and data[start] & 0xC0 == 0x80:
            start += 1
        if start and data[:start] not in self._ends:
            return False
        stop = len(data)
        for back in range(1, min(4, stop - start) + 1):
            lead = data[stop - back]
            if lead & 0xC0 != 0x80:
                length = 1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
                if length > back:
                    stop -= back
                break
        if stop < len(data) and data[stop:] not in self._begins:
            return False
        try:
            middle = data[start:stop].decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return False
        return all(character in self._characters for character in middle)


def vocabulary_of(document: Document) -> dict[str, int]:
    """Every token of a model, with its id."""
    model = document["model"]
    if model["type"] == "Unigram":
        return {piece: i for i, (piece, _) in enumerate(model["vocab"])}
    found: dict[str, int] = model["vocab"]
    return found


def _pair(merge: Any) -> tuple[str, str]:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def with_parts(document: Document, tokens: Iterable[str], spelling: Spelling) -> set[str]:
    """The tokens, and those of which merges make them, down to single characters."""
    made_of: dict[str, list[tuple[str, str]]] = {}
    for merge in document["model"].get("merges", ()):
        left, right = _pair(merge)
        made_of.setdefault(left + right.removeprefix(spelling.prefix), []).append((left, right))
    found: set[str] = set()
    todo = list(tokens)
    while todo:
        token = todo.pop()
        if token not in found:
            found.add(token)
            todo += [part for pair in made_of.get(token, ()) for part in pair]
    return found


def must_stay(document: Document) -> set[str]:
    """Tokens on which others depend: single bytes, and the unigram piece with the least score.

    The penalty of an unknown character is counted from that score.
    """
    model = document["model"]
    vocabulary = vocabulary_of(document)
    found = {
        token for token in vocabulary if model.get("byte_fallback") and _BYTE_PIECE.fullmatch(token)
    }
    if model["type"] == "Unigram":
        found.add(min(model["vocab"], key=lambda entry: entry[1])[0])
    return found


def trimmed(document: Document, kept: Collection[int], spelling: Spelling) -> Document:
    """The document with these ids alone, numbered from 0 in their order."""
    number = {old: new for new, old in enumerate(sorted(kept))}
    model = dict(document["model"])
    if model["type"] == "Unigram":
        model["vocab"] = [entry for i, entry in enumerate(model["vocab"]) if i in number]
        if model["unk_id"] is not None:
            model["unk_id"] = number[model["unk_id"]]
    else:
        model["vocab"] = {t: number[i] for t, i in model["vocab"].items() if i in number}
    if "merges" in model:
        tokens = model["vocab"]
        model["merges"] = [
            merge
            for merge in model["merges"]
            for left, right in [_pair(merge)]
            if left in tokens
            and right in tokens
            and left + right.removeprefix(spelling.prefix) in tokens
        ]
    added = [
        {**token, "id": number[token["id"]]}
        for token in document.get("added_tokens", ())
        if token["id"] in number
    ]
    # Marks are put around a text by Engine itself, so no template of the library is needed.
    return {**document, "model": model, "added_tokens": added, "post_processor": None}
