"""Small plugins that stand in for others while one is checked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from engine.contracts.tokenizer import Texts, Tokenizer, TokenizerSettings, Trimmed


class Characters(Tokenizer):
    """One id a character, 1 before and 2 after a text."""

    pad_id = 0
    origin = "made by the kit"

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    @classmethod
    def make(cls, settings: TokenizerSettings, texts: Texts, vocab_size: int) -> Characters:
        """Needs at least 4 ids."""
        return cls(vocab_size)

    @classmethod
    def from_bytes(cls, settings: TokenizerSettings, data: bytes) -> Characters:
        """The number of ids."""
        return cls(int(data))

    def to_bytes(self) -> bytes:
        """The number of ids."""
        return str(self.vocab_size).encode()

    def trimmed(self, letters: Collection[str], texts: Iterable[str] = ()) -> Trimmed:
        """See the contract."""
        room = self.vocab_size - 3
        kept = sorted({3 + ord(c) % room for text in ("".join(letters), *texts) for c in text})
        return Trimmed(_Kept(self, (0, 1, 2, *kept)), (0, 1, 2, *kept))

    def encode(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """See the contract."""
        room = self.vocab_size - 3
        return [[*[1, *(3 + ord(c) % room for c in text)][: max_tokens - 1], 2] for text in texts]


class _Kept(Characters):
    """Some of the ids of another one; every other character is the first id after the marks."""

    def __init__(self, whole: Characters, kept: tuple[int, ...]) -> None:
        super().__init__(len(kept))
        self._whole, self._number = whole, {old: new for new, old in enumerate(kept)}

    def trimmed(self, letters: Collection[str], texts: Iterable[str] = ()) -> Trimmed:
        """Nothing more goes."""
        return Trimmed(self, tuple(range(self.vocab_size)))

    def encode(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """See the contract."""
        rows = self._whole.encode(texts, max_tokens)
        return [[self._number.get(i, min(3, self.vocab_size - 1)) for i in row] for row in rows]
