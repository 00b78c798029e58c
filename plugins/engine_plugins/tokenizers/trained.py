"""A BPE trained on the config's own queries, for models that start from nothing."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from engine.core.sources import find_source
from engine_plugins.tokenizers.base import Parts, RustTokenizer, read_bytes
from engine_plugins.tokenizers.bpe import byte_characters, byte_numbers
from engine_plugins.tokenizers.learn import (
    check_room,
    choose_alphabet,
    count_words,
    learn_merges,
    number,
)
from engine_plugins.tokenizers.settings import TrainedSettings
from engine_plugins.tokenizers.trim import Spelling

_MARKS = ("<pad>", "<unk>", "<s>", "</s>")
_PAD, _UNKNOWN, _FIRST, _LAST = range(4)
_SPACE = "▁"  # U+2581 begins a word


class Trained(RustTokenizer[TrainedSettings]):
    """``<s> ids </s>``, or the ids alone; words are split at white space and punctuation."""

    name = "trained"

    def spelling(self) -> Spelling:
        """How the vocabulary spells its tokens."""
        return (
            Spelling(alphabet=byte_numbers())
            if self.settings.byte_level
            else Spelling(space=_SPACE)
        )

    @classmethod
    def read(cls, settings: TrainedSettings) -> Parts:
        """Read what :meth:`to_bytes` gave, from ``file:<path>``."""
        path = find_source(settings.from_, ["tokenizer.json"])["tokenizer.json"]
        return cls.from_bytes(settings, read_bytes(path))._parts

    @classmethod
    def learn(
        cls, settings: TrainedSettings, texts: Iterable[str], vocab_size: int
    ) -> tuple[Parts, int]:
        """Train the parts on texts; give them and the number of texts that were read."""
        letters = sorted(byte_characters()) if settings.byte_level else [_SPACE]
        check_room(cls.name, vocab_size, len(_MARKS) + len(letters))
        normalizer, splitter = cls._normalizer(settings), cls._splitter(settings)

        def split(text: str) -> Iterable[str]:
            clean = normalizer.normalize_str(text)
            return (word for word, _ in splitter.pre_tokenize_str(clean))

        words = count_words(texts, split, tuple)
        alphabet = choose_alphabet(words, vocab_size - len(_MARKS), letters)
        room = vocab_size - len(_MARKS) - len(alphabet)
        learned = learn_merges(words, alphabet, room, settings.min_frequency)
        merges = [("".join(left), "".join(right)) for left, right in learned]
        # Marks are spelled with a space, which no word holds, so that no text can spell them.
        tokens = [*(f" {mark}" for mark in _MARKS), *alphabet, *map("".join, merges)]
        backend = Tokenizer(
            models.BPE(number(tokens), merges, unk_token=f" {_MARKS[_UNKNOWN]}", fuse_unk=True)
        )
        backend.normalizer, backend.pre_tokenizer = normalizer, splitter
        begin, end = ((_FIRST,), (_LAST,)) if settings.marks else ((), ())
        return Parts(backend, begin, end, pad=_PAD, unknown=_UNKNOWN), words.texts

    @staticmethod
    def _normalizer(settings: TrainedSettings) -> normalizers.Normalizer:
        steps: list[normalizers.Normalizer] = [normalizers.NFC()]
        if settings.lower:
            steps.append(normalizers.Lowercase())
        return normalizers.Sequence(steps)

    @staticmethod
    def _splitter(settings: TrainedSettings) -> pre_tokenizers.PreTokenizer:
        if settings.byte_level:
            return pre_tokenizers.Sequence(
                [
                    pre_tokenizers.WhitespaceSplit(),
                    pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True),
                ]
            )
        return pre_tokenizers.Sequence(
            [
                pre_tokenizers.WhitespaceSplit(),
                pre_tokenizers.Metaspace(prepend_scheme="always", split=False),
                pre_tokenizers.Punctuation(),
            ]
        )
