"""SentencePiece models, BPE and unigram, read into the library `tokenizers`.

Sources: Kudo and Richardson, 2018, arXiv:1808.06226; repository google/sentencepiece. The
organisers' vocabulary is BPEmb's (Heinzerling and Strube, 2018, arXiv:1710.02187).
"""

from __future__ import annotations

import base64
import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import ClassVar, TypeVar

from tokenizers import Tokenizer, models

from engine.contracts.description import Table
from engine.contracts.unicode import bounded_normalise
from engine.core.sources import find_source
from engine.errors import ArtifactError, WeightsError
from engine_plugins.tokenizers import tables
from engine_plugins.tokenizers.backend import build_model
from engine_plugins.tokenizers.base import Parts, RustTokenizer, read_bytes, whole
from engine_plugins.tokenizers.learn import (
    check_room,
    choose_alphabet,
    count_words,
    learn_merges,
    number,
)
from engine_plugins.tokenizers.settings import SentencePieceSettings, TrainableSettings
from engine_plugins.tokenizers.spm_model import (
    BPE,
    BYTE,
    NORMAL,
    SPACE,
    UNKNOWN,
    Normalizer,
    SpmModel,
    parse_model,
)
from engine_plugins.tokenizers.trim import Spelling

S = TypeVar("S", bound=TrainableSettings)
Marks = tuple[tuple[int, ...], tuple[int, ...], int]
"""Ids before a text, ids after it, the id of padding."""

_NAMES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "spm.model")
_MAX_WORK = 50_000_000  # squares of the pieces' lengths; a vocabulary of 250,000 takes some 15
_DIGIT = re.compile(r"\d")
# Special tokens are spelled with a space, which no text holds by then, so that none can spell them.
_UNKNOWN_TOKEN = " <unk>"


class SentencePieceBase(RustTokenizer[S]):
    """SentencePiece's own segmentation; a subclass says what happens before, and which marks."""

    file_names: ClassVar[tuple[str, ...]] = _NAMES

    def __init__(self, settings: S, parts: Parts, origin: str) -> None:
        super().__init__(settings, parts, origin)
        extra = parts.extra
        try:
            self._nfkc = bool(extra["nfkc"])
            self._normalize = Normalizer(
                base64.b64decode(extra["charsmap"], validate=True),
                dummy_prefix=bool(extra["dummy_prefix"]),
                fold_spaces=bool(extra["fold_spaces"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"a SentencePiece tokenizer without its normaliser: {error}") from (
                error
            )

    def spelling(self) -> Spelling:
        """How the vocabulary spells its tokens."""
        return Spelling(space=SPACE)

    @classmethod
    def before(cls, settings: S, text: str) -> str:
        """What happens to a text before SentencePiece's own normalisation."""
        return text

    @classmethod
    @abstractmethod
    def around(cls, settings: S, model: SpmModel, where: str) -> Marks:
        """The ids before a text and after it, and of padding.

        Raises:
            WeightsError: the model lacks one.
        """

    def prepare(self, text: str) -> str:
        """A text as the vocabulary is looked up with it: cleaned, folded, split."""
        text = self.before(self.settings, text)
        return self._normalize(plain(text) if self._nfkc else text)

    @classmethod
    def names(cls, settings: S) -> tuple[str, ...]:
        """Names that the file may have in a source."""
        return cls.file_names

    @classmethod
    def read(cls, settings: S) -> Parts:
        """The parts of the tokenizer, read from the files that the settings name."""
        names = cls.names(settings)
        path = next(iter(find_source(settings.from_, names, first_only=True).values()))
        model = parse_model(read_bytes(path), str(path))
        begin, end, pad = cls.around(settings, model, str(path))
        backend = Tokenizer(build_model(str(path), lambda: _backend_model(model, str(path))))
        unknown = next(i for i, piece in enumerate(model.pieces) if piece.type == UNKNOWN)
        return Parts(
            backend,
            begin=begin,
            end=end,
            pad=pad,
            unknown=unknown,
            extra=_extra(model.charsmap, model.dummy_prefix, model.fold_spaces, nfkc=False),
        )

    @classmethod
    def learn(cls, settings: S, texts: Iterable[str], vocab_size: int) -> tuple[Parts, int]:
        """Train the parts on texts; give them and the number of texts that were read."""
        marks = [_UNKNOWN_TOKEN, " <s>", " </s>"]  # SentencePiece's own order
        check_room(cls.name, vocab_size, len(marks) + 1)

        def split(text: str) -> Iterable[str]:
            clean = plain(cls.before(settings, whole(text)))
            return (SPACE + word for word in clean.replace(SPACE, " ").split())

        words = count_words(texts, split, tuple)
        alphabet = choose_alphabet(words, vocab_size - len(marks), [SPACE])
        room = vocab_size - len(marks) - len(alphabet)
        learned = learn_merges(words, alphabet, room, settings.min_frequency)
        merges = [("".join(left), "".join(right)) for left, right in learned]
        vocabulary = number([*marks, *alphabet, *map("".join, merges)])
        backend = Tokenizer(models.BPE(vocabulary, merges, unk_token=_UNKNOWN_TOKEN, fuse_unk=True))
        begin, end, pad = cls.around(settings, _LEARNED, "its vocabulary")
        parts = Parts(
            backend,
            begin=begin,
            end=end,
            pad=pad,
            unknown=0,
            extra=_extra(b"", dummy_prefix=True, fold_spaces=True, nfkc=True),
        )
        return parts, words.texts


_LEARNED = SpmModel((), BPE, False, 1, 2, -1, b"", True, True)
"""The marks of a vocabulary that is trained here."""


class SentencePiece(SentencePieceBase[SentencePieceSettings]):
    """``<s> ids </s>``, or the ids alone; a run of unknown characters is one unknown id."""

    name = "sentencepiece"
    described: ClassVar[tuple[Table, ...]] = tables.SENTENCEPIECE

    @classmethod
    def before(cls, settings: SentencePieceSettings, text: str) -> str:
        """A text as it goes into the SentencePiece model."""
        if settings.lower:
            text = text.lower()
        return _DIGIT.sub("0", text) if settings.zero_digits else text

    @classmethod
    def names(cls, settings: SentencePieceSettings) -> tuple[str, ...]:
        """The names of the special tokens that the model must have."""
        return cls.file_names if settings.file is None else (settings.file,)

    @classmethod
    def around(cls, settings: SentencePieceSettings, model: SpmModel, where: str) -> Marks:
        """The tokens that stand before and behind every text."""
        pad = max(model.pad, 0)
        if not settings.marks:
            return (), (), pad
        if min(model.begin, model.end) < 0:
            raise WeightsError(
                f"{where} has no begin or no end mark", hint="set the tokenizer's `marks: false`"
            )
        return (model.begin,), (model.end,), pad


def plain(text: str) -> str:
    """The normalisation of a vocabulary trained here: NFKC, every white space a space."""
    return " ".join(bounded_normalise("NFKC", text).split())


def _extra(
    charsmap: bytes, dummy_prefix: bool, fold_spaces: bool, *, nfkc: bool
) -> Mapping[str, object]:
    return {
        "charsmap": base64.b64encode(charsmap).decode("ascii"),
        "dummy_prefix": dummy_prefix,
        "fold_spaces": fold_spaces,
        "nfkc": nfkc,
    }


def _backend_model(model: SpmModel, where: str) -> models.Model:
    spelling = [_spelling(piece.text, piece.type) for piece in model.pieces]
    if model.type != BPE:
        unknown = next(i for i, piece in enumerate(model.pieces) if piece.type == UNKNOWN)
        scored = [(text, piece.score) for text, piece in zip(spelling, model.pieces, strict=True)]
        return models.Unigram(scored, unk_id=unknown, byte_fallback=model.byte_fallback)
    return models.BPE(
        {text: i for i, text in enumerate(spelling)},
        _merges(model, where),
        unk_token=_UNKNOWN_TOKEN,
        fuse_unk=True,
        byte_fallback=model.byte_fallback,
    )


def _spelling(text: str, type_: int) -> str:
    if type_ == UNKNOWN:
        return _UNKNOWN_TOKEN
    return text if type_ in (NORMAL, BYTE) else f" {text}"


def _merges(model: SpmModel, where: str) -> list[tuple[str, str]]:
    """One merge for each piece of several characters, the best score first.

    SentencePiece joins any two neighbours that make a piece. Where no merge crosses a piece's
    border, the merges inside of it follow from its characters alone, so each piece has one pair
    that ever makes it: the last that is left when its own characters are joined.
    """
    score = {piece.text: piece.score for piece in model.pieces if piece.type == NORMAL}
    several = [(-piece.score, i) for i, piece in enumerate(model.pieces) if len(piece.text) > 1]
    if sum(len(model.pieces[i].text) ** 2 for _, i in several) > _MAX_WORK:
        raise WeightsError(f"{where}: its pieces are too many and too long for a real vocabulary")
    merges: list[tuple[str, str]] = []
    for _, i in sorted(several):
        piece = model.pieces[i]
        if piece.type != NORMAL:
            continue
        if lone := [character for character in piece.text if character not in score]:
            raise WeightsError(
                f"{where}: the piece `{piece.text}` holds {lone[0]!r}, which is not a piece itself"
            )
        if (pair := _last_pair(piece.text, score)) is not None:
            merges.append(pair)
    return merges


def _last_pair(text: str, score: Mapping[str, float]) -> tuple[str, str] | None:
    """The two pieces that at last make ``text``, or ``None`` where it is never made."""
    parts: Sequence[str] = list(text)
    while len(parts) > 2:
        joined = [left + right for left, right in pairwise(parts)]
        place, best = -1, float("-inf")
        for i, candidate in enumerate(joined):
            if score.get(candidate, float("-inf")) > best:
                place, best = i, score[candidate]
        if place < 0:
            return None
        parts = [*parts[:place], joined[place], *parts[place + 2 :]]
    return parts[0], parts[1]
