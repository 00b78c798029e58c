"""Small plugins that stand in for others while one is checked."""

from __future__ import annotations

from collections.abc import Sequence

from engine.contracts.tokenizer import Texts, Tokenizer, TokenizerSettings


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

    def encode(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """See the contract."""
        room = self.vocab_size - 3
        return [[*[1, *(3 + ord(c) % room for c in text)][: max_tokens - 1], 2] for text in texts]
