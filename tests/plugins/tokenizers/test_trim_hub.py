"""Trimmed vocabularies of the hub's tokenizers: the same tokens for Russian and English texts."""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import models, normalizers, pre_tokenizers, trainers

from engine.contracts import PluginRef, Tokenizer, Trimmed
from engine_plugins.tokenizers.cleaning import cleaned
from engine_plugins.tokenizers.trim import closed

from . import hub_folders
from .hub_folders import MAKERS, siglip
from .test_trim import CLDR, FOREIGN, LETTERS, ORDERED, corpus, same

MakeUse = Callable[..., PluginRef]
Pair = tuple[str, Tokenizer, Trimmed]

KINDS: dict[str, tuple[str, str, int, dict[str, Any]]] = {
    "xlm_roberta": ("xlm_roberta", "xlm_roberta", 0, {}),
    "xlm_roberta-fast": ("xlm_roberta", "xlm_roberta", 1, {}),
    "xlm_roberta-whitespace": ("xlm_roberta", "xlm_roberta", 0, {"clean": "whitespace"}),
    "t5": ("t5", "t5", 0, {}),
    "t5-canonicalize": ("t5", "t5", 1, {"clean": "canonicalize"}),
    "mt5": ("mt5", "t5", 0, {}),
    "siglip": ("siglip", "siglip", 0, {}),
    "nllb": ("nllb", "nllb", 0, {"language": "rus_Cyrl"}),
    "nllb-fast": ("nllb", "nllb", 1, {"language": "rus_Cyrl"}),
    "gemma": ("gemma", "gemma", 1, {}),
    "tokenizer_json-unigram": ("xlm_roberta", "tokenizer_json", 1, {}),
    "tokenizer_json-bpe": ("gemma", "tokenizer_json", 1, {}),
    "tokenizer_json-wordpiece": ("wordpiece", "tokenizer_json", 1, {}),
    "tokenizer_json-bytes": ("bytes", "tokenizer_json", 1, {}),
    "tokenizer_json-word_ends": ("word_ends", "tokenizer_json", 1, {}),
}
"""By name: the folder, the plugin, SentencePiece (0) or tokenizer.json (1), settings."""


def _file(tokenizer: Any, trainer: Any, folder: Path) -> tuple[Path, Path, Any]:
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder, folder, tokenizer


def wordpiece(folder: Path) -> Any:
    """BERT's own steps."""
    made = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    return _file(
        made, trainers.WordPieceTrainer(vocab_size=700, special_tokens=marks, show_progress=False),
        folder,
    )  # fmt: skip


def byte_level(folder: Path) -> Any:
    """GPT-2's bytes behind a sequence of two steps."""
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel()]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return _file(
        made, trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet, show_progress=False,
                                  special_tokens=["<pad>"]),
        folder,
    )  # fmt: skip


def word_ends(folder: Path) -> Any:
    """BPE with a suffix at the end of each word."""
    made = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return _file(
        made, trainers.BpeTrainer(vocab_size=800, end_of_word_suffix="</w>", show_progress=False,
                                  special_tokens=["<pad>", "<unk>"]),
        folder,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Any]]:
    """Folders whose vocabularies hold words of many scripts."""
    made: dict[str, Any] = {}
    makers = {**MAKERS, "siglip": siglip, "wordpiece": wordpiece, "bytes": byte_level,
              "word_ends": word_ends}  # fmt: skip
    words = sorted({word for text in corpus()[:300] for word in text.split()})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub_folders, "_WORDS", [*hub_folders._WORDS, *words])

        def folder(name: str) -> Any:
            if name not in made:
                made[name] = makers[name](tmp_path_factory.mktemp(name))
            return made[name]

        yield folder


@pytest.fixture(scope="module", params=list(KINDS))
def pair(request: pytest.FixtureRequest, folders: Callable[[str], Any], make_use: MakeUse) -> Pair:
    name, plugin, form, own = KINDS[request.param]
    use = make_use("tokenizer", plugin, **{"from": f"file:{folders(name)[form]}", **own})
    tokenizer = use.target().make(use.settings, list, 10_000)
    return request.param, tokenizer, tokenizer.trimmed(LETTERS)


def differing(pair: Pair, texts: list[str], most: int = 4096) -> list[str]:
    """The texts whose tokens differ, of those that are still of the alphabets once cleaned.

    open_clip's cleaning makes other characters of HTML entities and of what looks wrongly encoded.
    """
    _, old, new = pair
    how = getattr(getattr(old, "settings", None), "clean", "none")
    if how != "none":
        allowed = closed(LETTERS, lambda text: cleaned(text, how))
        texts = [text for text in texts[::4] or texts if set(cleaned(text, how)) <= allowed]
    return same(old, new, texts, most)


@pytest.mark.slow
def test_generated_texts_keep_their_tokens(pair: Pair) -> None:
    """20,000 texts of Russian and English characters, words of the vocabulary among them."""
    _, old, new = pair
    rng = random.Random(1)
    words = [w for text in corpus(2) for w in text.split() if set(w) <= LETTERS]
    texts = []
    for _ in range(20_000):
        parts = [rng.choice(words) if rng.random() < 0.5 else
                 "".join(rng.choices(ORDERED, k=rng.randint(1, 6)))
                 for _ in range(rng.randint(0, 6))]  # fmt: skip
        texts.append(rng.choice([" ", "", "  "]).join(parts))
    assert differing(pair, texts) == []
    assert len(new.kept) < old.vocab_size
    assert new.tokenizer.vocab_size == len(new.kept)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=st.text(st.sampled_from(ORDERED), max_size=40))
def test_any_text_of_the_alphabets(pair: Pair, text: str) -> None:
    forms = [text, text.upper(), text.lower(), unicodedata.normalize("NFD", text)]
    assert differing(pair, forms) == []
    assert differing(pair, forms, 8) == []  # what is cut off is the same, too


@pytest.mark.slow
@pytest.mark.skipif(not CLDR.is_dir(), reason="needs Debian's unicode-cldr-core")
def test_cldr_in_russian_and_english(pair: Pair) -> None:
    assert differing(pair, cldr_texts()) == []


def cldr_texts() -> list[str]:
    """Names of languages, countries, units and emoji that the alphabets can spell."""
    texts = []
    for code in ("ru", "en"):
        for name in ("main", "annotations"):
            content = (CLDR / name / f"{code}.xml").read_text(encoding="utf-8")
            texts += re.findall(r">([^<>\n]{2,})<", content)
    texts = [text for text in dict.fromkeys(texts) if set(text) <= LETTERS]
    assert len(texts) > 5000
    return texts


def test_a_trimmed_tokenizer_comes_back_from_its_bytes(pair: Pair) -> None:
    _, _, new = pair
    tokenizer: Any = new.tokenizer
    again = type(tokenizer).from_bytes(tokenizer.settings, tokenizer.to_bytes())
    texts = ["Привет, мир!", "a cat", "", *FOREIGN]
    assert again.encode(texts, 32) == tokenizer.encode(texts, 32)
    assert again.pad_id == tokenizer.pad_id


def test_other_texts_are_still_encoded(pair: Pair) -> None:
    name, old, new = pair
    rows = new.tokenizer.encode([*FOREIGN, "\0", "\ud800", "x" * 5000], 64)
    assert all(0 <= i < len(new.kept) for row in rows for i in row)
    assert all(1 <= len(row) <= 64 for row in rows)
    theirs = old.encode(FOREIGN, 256)
    changed = [[new.kept[i] for i in row] for row in new.tokenizer.encode(FOREIGN, 256)]
    assert changed != theirs, name  # tokens of other scripts did go


def test_trimming_twice_changes_nothing_more(pair: Pair) -> None:
    _, _, new = pair
    assert new.tokenizer.trimmed(LETTERS).kept == tuple(range(len(new.kept)))
