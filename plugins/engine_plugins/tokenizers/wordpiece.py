"""BERT's WordPiece.

Source: Devlin et al., 2018, arXiv:1810.04805; repository google-research/bert.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from engine.contracts.description import Table
from engine.core.sources import find_source
from engine.errors import WeightsError
from engine_plugins.tokenizers import tables
from engine_plugins.tokenizers.backend import build_model, parse_backend
from engine_plugins.tokenizers.base import Parts, RustTokenizer, fill_holes, read_text
from engine_plugins.tokenizers.learn import (
    Units,
    check_room,
    choose_alphabet,
    count_words,
    learn_merges,
    number,
)
from engine_plugins.tokenizers.settings import WordPieceSettings
from engine_plugins.tokenizers.trim import Spelling

_PAD, _UNKNOWN, _FIRST, _LAST, _MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
_LINES, _ONE_FILE = "vocab.txt", "tokenizer.json"
_INSIDE = "##"  # begins a piece that does not begin a word


class WordPiece(RustTokenizer[WordPieceSettings]):
    """``[CLS] ids [SEP]``; each word by the longest piece that fits, from its beginning."""

    name = "wordpiece"
    described: ClassVar[tuple[Table, ...]] = tables.WORDPIECE

    def spelling(self) -> Spelling:
        """How the vocabulary spells its tokens."""
        return Spelling(prefix=_INSIDE)

    @classmethod
    def read(cls, settings: WordPieceSettings) -> Parts:
        """The parts of the tokenizer, read from the files that the settings name."""
        found = find_source(settings.from_, [_LINES, _ONE_FILE], first_only=True)
        name, path = next(iter(found.items()))
        if name == _LINES:
            lines = read_text(path).removesuffix("\n").split("\n")
            vocabulary = {token: i for i, token in enumerate(lines)}
        else:
            vocabulary = _of_one_file(path)
        missing = [mark for mark in (_PAD, _UNKNOWN, _FIRST, _LAST) if mark not in vocabulary]
        if missing:
            raise WeightsError(
                f"{path} does not have {', '.join(missing)}",
                hint="a BERT vocabulary is a text file with one token a line, or the"
                " `tokenizer.json` of the library `tokenizers`",
            )
        return cls._assemble(settings, vocabulary)

    @classmethod
    def learn(
        cls, settings: WordPieceSettings, texts: Iterable[str], vocab_size: int
    ) -> tuple[Parts, int]:
        """Train the parts on texts; give them and the number of texts that were read."""
        marks = [_PAD, _UNKNOWN, _FIRST, _LAST, _MASK]
        check_room(cls.name, vocab_size, len(marks) + 1)
        normalizer, splitter = cls._normalizer(settings), pre_tokenizers.BertPreTokenizer()

        def split(text: str) -> Iterable[str]:
            clean = normalizer.normalize_str(text)
            return (word for word, _ in splitter.pre_tokenize_str(clean))

        def units(word: str) -> Units:
            return (word[0], *(_INSIDE + letter for letter in word[1:]))

        words = count_words(texts, split, units)
        alphabet = choose_alphabet(words, vocab_size - len(marks))
        room = vocab_size - len(marks) - len(alphabet)
        learned = learn_merges(words, alphabet, room, settings.min_frequency)
        pieces = (_piece((*left, *right)) for left, right in learned)
        return cls._assemble(settings, number([*marks, *alphabet, *pieces])), words.texts

    @staticmethod
    def _normalizer(settings: WordPieceSettings) -> normalizers.Normalizer:
        return normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=True,
            strip_accents=settings.strip_accents,
            lowercase=settings.do_lower_case,
        )

    @classmethod
    def _assemble(cls, settings: WordPieceSettings, vocabulary: Mapping[str, int]) -> Parts:
        model = build_model(
            settings.from_,
            lambda: models.WordPiece(
                fill_holes(vocabulary),
                unk_token=_UNKNOWN,
                max_input_chars_per_word=100,
                continuing_subword_prefix=_INSIDE,
            ),
        )
        backend = Tokenizer(model)
        backend.normalizer = cls._normalizer(settings)
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        return Parts(
            backend,
            begin=(vocabulary[_FIRST],),
            end=(vocabulary[_LAST],),
            pad=vocabulary[_PAD],
            unknown=vocabulary[_UNKNOWN],
        )


def _of_one_file(path: Path) -> dict[str, int]:
    """The ids in a ``tokenizer.json``; what its other entries say is held against the settings."""
    try:
        backend = parse_backend(read_text(path))
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from error
    if not isinstance(backend.model, models.WordPiece):
        raise WeightsError(f"{path} is not a WordPiece, but {type(backend.model).__name__}")
    return dict(backend.get_vocab(with_added_tokens=True))


def _piece(units: Units) -> str:
    return units[0] + "".join(unit.removeprefix(_INSIDE) for unit in units[1:])
