"""Trimmed vocabularies: the same tokens for every text of the kept alphabets, for every kind."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.contracts import Tokenizer, Trimmed
from engine.errors import PluginError
from engine_plugins.compressors.alphabets import letters_of
from engine_plugins.tokenizers.bpe import ClipBpe, Gpt2Bpe, clip_clean
from engine_plugins.tokenizers.settings import (
    ClipBpeSettings,
    Gpt2BpeSettings,
    SentencePieceSettings,
    TrainedSettings,
    WordPieceSettings,
    YouTokenToMeSettings,
)
from engine_plugins.tokenizers.spm import SentencePiece
from engine_plugins.tokenizers.trained import Trained
from engine_plugins.tokenizers.trim import closed
from engine_plugins.tokenizers.wordpiece import WordPiece
from engine_plugins.tokenizers.yttm import YouTokenToMe

CLDR = Path("/usr/share/unicode/cldr/common")
LETTERS = frozenset(letters_of(["ru", "en"]))
ORDERED = sorted(LETTERS)
FOREIGN = ["αβγδ κόσμος", "日本語 テキスト", "שלום עולם", "Łódź ßß ğş", "नमस्ते", "ﷺ ½ ㈱"]


def corpus(seed: int = 0) -> list[str]:
    """Words of many scripts, so that a vocabulary has much to lose."""
    rng = random.Random(seed)
    syllables = {
        "ru": ["ко", "ш", "ка", "со", "ба", "дом", "при", "вет", "ий", "ё", "щи", "лес"],
        "en": ["ca", "t", "do", "g", "hou", "se", "ing", "er", "str", "eet", "é"],
        "el": ["κό", "σμ", "ος", "λό", "γος", "ά"],
        "he": ["של", "ום", "עו", "לם"],
        "ja": ["日", "本", "語", "テ", "キ", "スト", "カ"],
        "hi": ["नम", "स्ते", "दु", "निया"],
    }
    texts = []
    for _ in range(3000):
        language = rng.choice(list(syllables))
        words = ["".join(rng.choices(syllables[language], k=rng.randint(1, 4)))
                 for _ in range(rng.randint(1, 7))]  # fmt: skip
        words = [w.capitalize() if rng.random() < 0.2 else w for w in words]
        texts.append(" ".join(words) + rng.choice(["", ".", "!", " 12", ", №5"]))
    return texts


def make(cls: Any, config: Any, vocab: int) -> Tokenizer:
    made: Tokenizer = cls.make(config, lambda: corpus(), vocab)
    return made


def spm(kind: str, folder: Path, **more: Any) -> Tokenizer:
    text = folder / f"{kind}.txt"
    text.write_text("\n".join(corpus()), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / kind), vocab_size=600, model_type=kind,
        hard_vocab_limit=False, minloglevel=2, **more,
    )  # fmt: skip
    config = SentencePieceSettings.model_validate({"from": f"file:{folder / kind}.model"})
    return make(SentencePiece, config, 5000)


KINDS: dict[str, Callable[[Path], Tokenizer]] = {
    "wordpiece": lambda _: make(WordPiece, WordPieceSettings(), 700),
    "wordpiece-lower": lambda _: make(WordPiece, WordPieceSettings(do_lower_case=True), 700),
    "gpt2_bpe": lambda _: make(Gpt2Bpe, Gpt2BpeSettings(), 900),
    "gpt2_bpe-prefix": lambda _: make(Gpt2Bpe, Gpt2BpeSettings(add_prefix_space=True), 900),
    "clip_bpe": lambda _: make(ClipBpe, ClipBpeSettings(), 49408),
    "clip_bpe-trained": lambda _: make(
        ClipBpe, ClipBpeSettings.model_validate({"from": "scratch"}), 1100
    ),
    "unigram": lambda folder: spm("unigram", folder),
    "unigram-bytes": lambda folder: spm("unigram", folder, byte_fallback=True),
    "unigram-nfkc_cf": lambda folder: spm("unigram", folder, normalization_rule_name="nmt_nfkc_cf"),
    "spm-bpe": lambda folder: spm("bpe", folder),
    "spm-trained": lambda _: make(SentencePiece, SentencePieceSettings(), 700),
    "youtokentome": lambda _: make(YouTokenToMe, YouTokenToMeSettings(), 700),
    "trained": lambda _: make(Trained, TrainedSettings(), 700),
    "trained-bytes": lambda _: make(Trained, TrainedSettings(byte_level=True), 900),
}
each = pytest.mark.parametrize("kind", KINDS)


@cache
def pair(kind: str, folder: Path) -> tuple[Tokenizer, Trimmed]:
    tokenizer = KINDS[kind](folder)
    return tokenizer, tokenizer.trimmed(LETTERS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spm")


@cache
def clip_letters() -> set[str]:
    return closed(LETTERS, clip_clean)


def same(old: Tokenizer, new: Trimmed, texts: Sequence[str], most: int = 4096) -> list[str]:
    """The texts whose tokens differ, of those that are still of the alphabets once cleaned.

    CLIP's cleaning makes other characters of HTML entities and of what looks wrongly encoded.
    """
    if isinstance(old, ClipBpe):  # whose cleaning takes a millisecond a text
        allowed = clip_letters()
        texts = [text for text in texts[::10] or texts if set(clip_clean(text)) <= allowed]
    theirs, ours = old.encode(texts, most), new.tokenizer.encode(texts, most)
    return [
        text for text, a, b in zip(texts, theirs, ours, strict=True)
        if a != [new.kept[i] for i in b]
    ]  # fmt: skip


@each
def test_texts_of_the_alphabets_keep_their_tokens(kind: str, folder: Path) -> None:
    """20,000 generated texts of Russian and English characters, words of the corpus among them."""
    old, new = pair(kind, folder)
    rng = random.Random(1)
    words = [w for text in corpus(2) for w in text.split() if set(w) <= LETTERS]
    texts = []
    for _ in range(20_000):
        parts = [rng.choice(words) if rng.random() < 0.5 else
                 "".join(rng.choices(ORDERED, k=rng.randint(1, 6)))
                 for _ in range(rng.randint(0, 6))]  # fmt: skip
        texts.append(rng.choice([" ", "", "  "]).join(parts))
    assert same(old, new, texts) == []
    assert len(new.kept) < old.vocab_size
    assert new.tokenizer.vocab_size == len(new.kept)


@each
@settings(max_examples=40, deadline=None)
@given(text=st.text(st.sampled_from(ORDERED), max_size=40))
def test_any_text_of_the_alphabets(kind: str, folder: Path, text: str) -> None:
    old, new = pair(kind, folder)
    assert (
        same(old, new, [text, text.upper(), text.lower(), unicodedata.normalize("NFD", text)]) == []
    )


@pytest.mark.skipif(not CLDR.is_dir(), reason="needs Debian's unicode-cldr-core")
@each
def test_cldr_in_russian_and_english(kind: str, folder: Path) -> None:
    """Every name of a language, country, unit or emoji that the alphabets can spell."""
    import re

    texts = []
    for code in ("ru", "en"):
        for name in ("main", "annotations"):
            content = (CLDR / name / f"{code}.xml").read_text(encoding="utf-8")
            texts += re.findall(r">([^<>\n]{2,})<", content)
    texts = [text for text in dict.fromkeys(texts) if set(text) <= LETTERS]
    assert len(texts) > 5000
    old, new = pair(kind, folder)
    assert same(old, new, texts) == []


@each
def test_a_trimmed_tokenizer_comes_back_from_its_bytes(kind: str, folder: Path) -> None:
    _, new = pair(kind, folder)
    tokenizer: Any = new.tokenizer
    again = type(tokenizer).from_bytes(tokenizer.settings, tokenizer.to_bytes())
    texts = ["Привет, мир!", "a cat", "", *FOREIGN]
    assert again.encode(texts, 32) == tokenizer.encode(texts, 32)
    assert "trimmed to" in again.origin
    assert again.pad_id == tokenizer.pad_id


@each
def test_other_texts_are_still_encoded(kind: str, folder: Path) -> None:
    _, new = pair(kind, folder)
    for row in new.tokenizer.encode([*FOREIGN, "\0", "\ud800", "x" * 5000], 64):
        assert 1 <= len(row) <= 64
        assert all(0 <= i < len(new.kept) for i in row)


@pytest.mark.parametrize("kind", ["gpt2_bpe", "clip_bpe", "unigram-bytes", "trained-bytes"])
def test_bytes_stay_so_that_nothing_is_unknown(kind: str, folder: Path) -> None:
    old, new = pair(kind, folder)
    unknown = new.tokenizer._parts.unknown
    rows = new.tokenizer.encode(FOREIGN, 256)
    if unknown is not None and kind == "unigram-bytes":
        assert all(unknown not in row for row in rows)
    # More tokens than before, and none lost: other texts have rows of their own.
    assert all(len(a) >= len(b) for a, b in zip(rows, old.encode(FOREIGN, 256), strict=True))
    assert len({tuple(row) for row in rows}) == len(FOREIGN)


@each
def test_a_corpus_keeps_its_own_tokens_and_the_parts_of_them(kind: str, folder: Path) -> None:
    old, _ = pair(kind, folder)
    own = [text for text in corpus() if set(text) <= LETTERS][:40]
    few = old.trimmed((), own)
    assert same(old, few, own) == []
    both = old.trimmed(letters_of(["ru"]), [*own, "κόσμος"])
    assert same(old, both, [*own, "κόσμος", "новый город"]) == []
    assert len(few.kept) < len(both.kept) < old.vocab_size


@each
def test_trimming_twice_changes_nothing_more(kind: str, folder: Path) -> None:
    _, new = pair(kind, folder)
    again = new.tokenizer.trimmed(LETTERS)
    assert again.kept == tuple(range(len(new.kept)))


def test_rows_of_the_table_by_hand(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "кот", "日本", "##ик", "##語", "é", "a"]),
        encoding="utf-8",
    )
    tokenizer = WordPiece.make(
        WordPieceSettings.model_validate({"from": f"file:{tmp_path}"}), list, 100
    )
    new = tokenizer.trimmed(letters_of(["ru"]))
    assert new.kept == (0, 1, 2, 3, 4, 6, 9)  # `a` is ASCII: it stays as a single letter
    assert new.tokenizer.encode(["котик 日本"], 16) == [[2, 4, 5, 1, 1, 3]]


def test_a_tokenizer_that_cannot_be_trimmed_says_so() -> None:
    class Fixed(Tokenizer):
        @classmethod
        def make(cls, settings: Any, texts: Any, vocab_size: int) -> Tokenizer:
            return cls()

        @classmethod
        def from_bytes(cls, settings: Any, data: bytes) -> Tokenizer:
            return cls()

        def to_bytes(self) -> bytes:
            return b"{}"

        def encode(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
            return [[0] for _ in texts]

    with pytest.raises(PluginError, match="Fixed cannot be trimmed"):
        Fixed().trimmed(LETTERS)
