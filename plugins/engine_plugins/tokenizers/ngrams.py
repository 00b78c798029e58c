"""Hashed character n-grams and whole words: a tokenizer without a vocabulary.

Source: fastText's subwords (Bojanowski et al., 2017, arXiv:1607.04606): every word is put between
``<`` and ``>``, so that the beginning and the end of a word have n-grams of their own.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Sequence
from functools import lru_cache

from engine.contracts import Texts, Tokenizer
from engine.contracts.unicode import bounded_normalise
from engine.errors import ArtifactError
from engine_plugins.tokenizers.settings import CharNgramsSettings

_FORMAT = 1
_WORD = re.compile(r"\w+|[^\w\s]")
_EMPTY = 0
"""The id of a text without any word; hashes begin at 1."""
_KEPT_WORDS = 1 << 16
_LONGEST_WORD = 64


class CharNgrams(Tokenizer):
    """See :class:`CharNgramsSettings`. Nothing is learned, so nothing but the settings is stored.

    A word is followed by its n-grams, from its beginning on; ``crc32`` modulo the number of rows
    gives an id. Of a word of more than 64 letters the first 64 count.
    """

    pad_id = _EMPTY

    def __init__(self, settings: CharNgramsSettings, vocab_size: int) -> None:
        self.settings, self.vocab_size = settings, vocab_size
        self.origin = "hashed n-grams: nothing to learn"
        self._replace = str.maketrans(dict(settings.replace))
        self._ids = lru_cache(maxsize=_KEPT_WORDS)(self._hash_word)

    def __reduce__(self) -> tuple[type[CharNgrams], tuple[CharNgramsSettings, int]]:
        return CharNgrams, (self.settings, self.vocab_size)

    @classmethod
    def make(cls, settings: CharNgramsSettings, texts: Texts, vocab_size: int) -> CharNgrams:
        """See the contract."""
        return cls(settings, vocab_size)

    @classmethod
    def from_bytes(cls, settings: CharNgramsSettings, data: bytes) -> CharNgrams:
        """See the contract."""
        try:
            found = json.loads(data)
            if found["kind"] != "char_ngrams" or found["format"] != _FORMAT:
                raise ValueError("of another kind or version")
            size = found["vocab_size"]
            if not isinstance(size, int) or isinstance(size, bool) or not 2 <= size <= 1 << 24:
                raise ValueError("`vocab_size` is not a number of rows")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ArtifactError(f"not the settings of hashed n-grams: {error}") from error
        return cls(settings, size)

    def to_bytes(self) -> bytes:
        """JSON: kind and number of rows."""
        about = {"kind": "char_ngrams", "format": _FORMAT, "vocab_size": self.vocab_size}
        return (json.dumps(about) + "\n").encode()

    def encode(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """See the contract."""
        return [self._encode(text, max_tokens) for text in texts]

    def _encode(self, text: str, max_tokens: int) -> list[int]:
        plain = bounded_normalise("NFKC", text)
        if self.settings.lower:
            plain = plain.lower()
        found: list[int] = []
        for match in _WORD.finditer(plain.translate(self._replace)):
            found += self._ids(match[0][:_LONGEST_WORD])
            if len(found) >= max_tokens:
                break
        return found[:max_tokens] or [_EMPTY]

    def _hash_word(self, word: str) -> tuple[int, ...]:
        marked = f"<{word}>"
        settings = self.settings
        pieces = [f"={word}"] if settings.words else []
        for size in range(settings.shortest, settings.longest + 1):
            pieces += [marked[i : i + size] for i in range(len(marked) - size + 1)]
        rows = self.vocab_size - 1
        return tuple(
            1 + zlib.crc32(piece.encode("utf-8", "surrogatepass")) % rows for piece in pieces
        )
