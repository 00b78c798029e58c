"""Tokenizers of transformers' multilingual models: T5, Gemma, XLM-RoBERTa, NLLB.

Each reads the `tokenizer.json` of a repository, or the SentencePiece model where that is all there
is, and gives the ids that transformers' class of the family gives. Sources:
github.com/huggingface/transformers (5.24), ``tokenization_t5.py`` and its like, and
``convert_slow_tokenizer.py``; fairseq's order of marks is that of Conneau et al., 2019,
arXiv:1911.02116.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from tokenizers import Tokenizer, models, pre_tokenizers

from engine.contracts.description import Table
from engine.core.sources import find_source
from engine.errors import ArtifactError, WeightsError
from engine_plugins.tokenizers import hub_tables
from engine_plugins.tokenizers.base import Parts, RustTokenizer, read_bytes, whole
from engine_plugins.tokenizers.cleaning import cleaned
from engine_plugins.tokenizers.hub_file import (
    METASPACE,
    WORDS,
    HubVocabulary,
    assembled,
    expect,
    precompiled,
    read_document,
    unigram,
    vocabulary_of,
)
from engine_plugins.tokenizers.hub_settings import (
    GemmaSettings,
    HubSettings,
    NllbSettings,
    T5Settings,
    XlmRobertaSettings,
)
from engine_plugins.tokenizers.languages import NLLB_LANGUAGES
from engine_plugins.tokenizers.learn import (
    check_room,
    choose_alphabet,
    count_words,
    learn_merges,
    number,
)
from engine_plugins.tokenizers.spm import plain
from engine_plugins.tokenizers.spm_model import BPE, NORMAL, SPACE, UNIGRAM, SpmModel, parse_model
from engine_plugins.tokenizers.trim import Spelling

H = TypeVar("H", bound=HubSettings)

_ONE_FILE = "tokenizer.json"
_BEGIN, _END, _PAD, _UNKNOWN, _MASK = "<s>", "</s>", "<pad>", "<unk>", "<mask>"
_FAIRSEQ = (_BEGIN, _PAD, _END, _UNKNOWN)
"""The marks that fairseq puts before a SentencePiece model's own pieces, whose first three fall
away: so every other piece moves up by one."""


class HubTokenizer(RustTokenizer[H]):
    """What these families share: a source's two forms, cleaning, marks by their spelling."""

    family: ClassVar[str]
    model: ClassVar[str]
    """The sort of vocabulary, ``"Unigram"`` or ``"BPE"``."""
    marks: ClassVar[tuple[str, ...]]
    """Marks of a vocabulary that is trained here, by id."""
    pieces_file: ClassVar[str | None] = None
    """Name of the SentencePiece model, where the family's class can be made of one."""

    def __init__(self, settings: H, parts: Parts, origin: str) -> None:
        super().__init__(settings, parts, origin)
        learned = parts.extra.get("learned")
        if not isinstance(learned, bool):
            raise ArtifactError("a tokenizer that does not say whether it was trained here")
        self._learned = learned

    def spelling(self) -> Spelling:
        """How the vocabulary spells its tokens."""
        return Spelling(space=SPACE)

    def prepare(self, text: str) -> str:
        """A text as the vocabulary is looked up with it: cleaned, folded, split."""
        text = cleaned(text, self.settings.clean)
        return plain(text) if self._learned else text

    @classmethod
    @abstractmethod
    def around(cls, settings: H) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The marks before and after a text."""

    @classmethod
    def padding(cls, settings: H) -> str:
        """The token that fills a row up."""
        return _PAD

    @classmethod
    def of_pieces(cls, model: SpmModel, path: Path) -> dict[str, Any]:
        """The `tokenizer.json` that transformers makes of a SentencePiece model."""
        raise NotImplementedError

    @classmethod
    def adjusted(cls, settings: H, document: dict[str, Any]) -> dict[str, Any]:
        """A source's `tokenizer.json` with what the settings add."""
        return document

    @classmethod
    def read(cls, settings: H) -> Parts:
        """The parts of the tokenizer, read from the files that the settings name."""
        names = [_ONE_FILE, *([cls.pieces_file] if cls.pieces_file else [])]
        found = find_source(settings.from_, names, first_only=True)
        name, path = next(iter(found.items()))
        if name == _ONE_FILE:
            document = read_document(path)
        else:
            document = cls.of_pieces(parse_model(read_bytes(path), str(path)), path)
        expect(document, str(path), cls.model, cls.family)
        vocabulary = vocabulary_of(cls.adjusted(settings, document), str(path))
        return cls._assemble(settings, vocabulary, str(path), learned=False)

    @classmethod
    def _assemble(
        cls, settings: H, vocabulary: HubVocabulary, where: str, *, learned: bool
    ) -> Parts:
        begin, end = cls.around(settings)
        pad, ids = cls.padding(settings), vocabulary.ids
        missing = [mark for mark in (*begin, *end, pad) if mark not in ids]
        if missing:
            raise WeightsError(
                f"{where} does not have {', '.join(missing)}",
                hint=f"expected the vocabulary of {cls.family}; other families have plugins of"
                " their own (`engine plugins tokenizer`)",
            )
        return Parts(
            vocabulary.backend,
            begin=tuple(ids[mark] for mark in begin),
            end=tuple(ids[mark] for mark in end),
            pad=ids[pad],
            unknown=ids.get(_UNKNOWN),
            extra={"learned": learned},
        )

    @classmethod
    def learn(cls, settings: H, texts: Iterable[str], vocab_size: int) -> tuple[Parts, int]:
        """A BPE of words, each with U+2581 before it, under the family's marks."""
        begin, end = cls.around(settings)
        marks = list(dict.fromkeys([*cls.marks, *begin, *end, cls.padding(settings)]))
        check_room(cls.name, vocab_size, len(marks) + 1)

        def split(text: str) -> Iterable[str]:
            clean = plain(cleaned(whole(text), settings.clean))
            return (SPACE + word for word in clean.replace(SPACE, " ").split())

        words = count_words(texts, split, tuple)
        alphabet = choose_alphabet(words, vocab_size - len(marks), [SPACE])
        room = vocab_size - len(marks) - len(alphabet)
        learned = learn_merges(words, alphabet, room, settings.min_frequency)
        merges = [("".join(left), "".join(right)) for left, right in learned]
        hidden = {mark: f" {mark}" for mark in marks}
        vocabulary = number([*hidden.values(), *alphabet, *map("".join, merges)])
        backend = Tokenizer(
            models.BPE(vocabulary, merges, unk_token=hidden[_UNKNOWN], fuse_unk=True)
        )
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.WhitespaceSplit(),
                pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always"),
            ]
        )
        ids = {mark: vocabulary[spelling] for mark, spelling in hidden.items()}
        made = cls._assemble(settings, HubVocabulary(backend, ids), "its vocabulary", learned=True)
        return made, words.texts


def _fairseq(model: SpmModel) -> list[tuple[str, float]]:
    """A SentencePiece model's pieces under fairseq's ids."""
    return [*((mark, 0.0) for mark in _FAIRSEQ), *((p.text, p.score) for p in model.pieces[3:])]


def _wrong(path: Path, family: str) -> WeightsError:
    return WeightsError(
        f"{path} is another sort of SentencePiece model than {family}'s",
        hint="choose the tokenizer plugin of the model's own family (`engine plugins tokenizer`)",
    )


class T5(HubTokenizer[T5Settings]):
    """``ids </s>``; a unigram vocabulary. SigLIP and SigLIP i18n read their texts through it.

    T5's ``<extra_id_0>`` and so on stand behind the pieces. No text gives them, so the text encoder
    needs no rows for them (SigLIP has none).
    """

    name = "t5"
    family = "T5"
    model = "Unigram"
    marks = (_PAD, _END, _UNKNOWN)
    pieces_file = "spiece.model"
    described: ClassVar[tuple[Table, ...]] = hub_tables.T5

    @classmethod
    def around(cls, settings: T5Settings) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The tokens that stand before and behind every text."""
        return (), (_END,)

    @classmethod
    def padding(cls, settings: T5Settings) -> str:
        """The token that fills up short texts."""
        return settings.pad

    @classmethod
    def of_pieces(cls, model: SpmModel, path: Path) -> dict[str, Any]:
        """The `tokenizer.json` of a SentencePiece model."""
        unknown = next(i for i, p in enumerate(model.pieces) if p.text == _UNKNOWN)
        if model.type != UNIGRAM:
            raise _wrong(path, "T5")
        pieces = [(piece.text, piece.score) for piece in model.pieces]
        return assembled(unigram(pieces, unknown), precompiled(model), WORDS, cls.marks)


class XlmRoberta(HubTokenizer[XlmRobertaSettings]):
    """``<s> ids </s>``; a unigram vocabulary under fairseq's ids, ``<mask>`` behind it."""

    name = "xlm_roberta"
    family = "XLM-RoBERTa"
    model = "Unigram"
    marks = _FAIRSEQ
    pieces_file = "sentencepiece.bpe.model"
    described: ClassVar[tuple[Table, ...]] = hub_tables.XLM_ROBERTA

    @classmethod
    def around(cls, settings: XlmRobertaSettings) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The tokens that stand before and behind every text."""
        return (_BEGIN,), (_END,)

    @classmethod
    def of_pieces(cls, model: SpmModel, path: Path) -> dict[str, Any]:
        """The `tokenizer.json` of a SentencePiece model."""
        if model.type != UNIGRAM:
            raise _wrong(path, "XLM-RoBERTa")
        pieces = [*_fairseq(model), (_MASK, 0.0)]
        marks = (*_FAIRSEQ, _MASK)
        return assembled(unigram(pieces, 3), precompiled(model), WORDS, marks)


class Nllb(HubTokenizer[NllbSettings]):
    """``LANGUAGE ids </s>``; a BPE under fairseq's ids, the languages and ``<mask>`` behind it."""

    name = "nllb"
    family = "NLLB"
    model = "BPE"
    marks = _FAIRSEQ
    pieces_file = "sentencepiece.bpe.model"
    described: ClassVar[tuple[Table, ...]] = hub_tables.NLLB

    @classmethod
    def around(cls, settings: NllbSettings) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The tokens that stand before and behind every text."""
        language = str(settings.language)
        return ((), (_END, language)) if settings.legacy else ((language,), (_END,))

    @classmethod
    def of_pieces(cls, model: SpmModel, path: Path) -> dict[str, Any]:
        """The `tokenizer.json` of a SentencePiece model."""
        if model.type != BPE:
            raise _wrong(path, "NLLB")
        vocabulary = {text: i for i, (text, _) in enumerate(_fairseq(model))}
        normal = {piece.text for piece in model.pieces if piece.type == NORMAL}
        merges = [pair for piece in model.pieces for pair in _splits(piece.text, normal)]
        fold = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
        steps = [step for step in (precompiled(model), fold) if step]
        bpe = {
            "type": "BPE", "dropout": None, "unk_token": _UNKNOWN, "fuse_unk": True,
            "byte_fallback": False, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "vocab": vocabulary,
            "merges": [list(pair) for pair in merges],
        }  # fmt: skip
        document = assembled(bpe, {"type": "Sequence", "normalizers": steps}, METASPACE, _FAIRSEQ)
        # The piece at the place of fairseq's offset is counted among the languages' ids.
        first = len(model.pieces) + 1
        document["added_tokens"] += [
            {"id": first + i, "content": language, "special": True, "single_word": False,
             "lstrip": False, "rstrip": False, "normalized": False}
            for i, language in enumerate(NLLB_LANGUAGES)
        ]  # fmt: skip
        return document


def _splits(text: str, pieces: set[str]) -> Iterable[tuple[str, str]]:
    """Every two pieces that make a piece, in transformers' order: the shorter left one first."""
    if text not in pieces:
        return
    for place in range(1, len(text)):
        if text[:place] in pieces and text[place:] in pieces:
            yield text[:place], text[place:]


class Gemma(HubTokenizer[GemmaSettings]):
    """``ids <eos>`` in lower case: Gemma's BPE with bytes for what it lacks, as SigLIP 2 has it."""

    name = "gemma"
    family = "Gemma"
    model = "BPE"
    marks = ("<pad>", "<eos>", "<bos>", _UNKNOWN)
    described: ClassVar[tuple[Table, ...]] = hub_tables.GEMMA

    @classmethod
    def around(cls, settings: GemmaSettings) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The tokens that stand before and behind every text."""
        return ("<bos>",) if settings.begin else (), ("<eos>",) if settings.end else ()

    @classmethod
    def adjusted(cls, settings: GemmaSettings, document: dict[str, Any]) -> dict[str, Any]:
        """Lower case before the other steps, where the file does not have it already."""
        steps = hub_tables.steps(document.get("normalizer"))
        lower = any(step.get("type") == "Lowercase" for step in steps)
        if settings.lower and not lower:
            steps = [{"type": "Lowercase"}, *steps]
        elif not settings.lower:
            steps = [step for step in steps if step.get("type") != "Lowercase"]
        return {**document, "normalizer": {"type": "Sequence", "normalizers": steps}}

    def prepare(self, text: str) -> str:
        """A text as the vocabulary is looked up with it: cleaned, folded, split."""
        text = super().prepare(text)
        return text.lower() if self._learned and self.settings.lower else text
