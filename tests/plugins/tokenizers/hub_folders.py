"""Folders as the hub has them, with small vocabularies that are trained here, and many texts."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import sentencepiece
from transformers import (
    GemmaTokenizer,
    NllbTokenizer,
    Siglip2Tokenizer,
    SiglipTokenizer,
    T5Tokenizer,
    XLMRobertaTokenizer,
)

_TEXT = (
    "кот кошка собака красный белый чёрный диван дом море новый год лето зима ёлка съел объект "
    "фотография изображение картинка вид сверху ночью город река a the cat dog red white house sea "
    "photo of on in picture quick brown fox jumps over lazy night city river don't it's 12 2021 №5"
)
_WORDS = _TEXT.split()
_ODD = (
    "", " ", "\t", "\n", "  два  пробела ", "\u00a0неразрывный\u00a0", "ﬁ ＦＵＬＬ ｗｉｄｔｈ",
    "e\u0301 é", "й и\u0306", "😀", "👨\u200d👩\u200d👧 семья", "🇷🇺", "漢字かな交じり",
    "مرحبا بالعالم", "שלום", "ﾊﾟﾋﾟ", "x²+½", "R&amp;B &lt;3", "ÐºÐ¾Ñ", "under_score",
    "no-break\u2011hyphen", "«ёлочки» — тире…", "C++/C#", "a\u200bb", "▁уже▁есть", "...", "?!",
    "İstanbul ΣΑΣ ß", "ǅ", "\ufeffbom", "\u2028line", "a\x00b",
)  # fmt: skip
_SCRIPTS = ((32, 0x24F), (0x400, 0x4FF), (0x1F300, 0x1F64F), (0x3040, 0x30FF))
"""Latin, Cyrillic, emoji, Japanese."""


@cache
def many_texts(count: int = 5000) -> tuple[str, ...]:
    """Russian, English, emoji, mixed scripts and odd input; the same each time."""
    rng = random.Random(5)
    found = list(_ODD)
    letters = "абвгдеёжзийклмнопрстуфхцчшщъыьэюяabcdefghijklmnopqrstuvwxyz"
    while len(found) < count:
        sort = rng.random()
        if sort < 0.45:
            text = " ".join(rng.choice(_WORDS) for _ in range(rng.randint(1, 12)))
        elif sort < 0.65:
            text = " ".join("".join(rng.choices(letters, k=rng.randint(1, 9)))
                            for _ in range(rng.randint(1, 6)))  # fmt: skip
        elif sort < 0.85:
            parts = rng.choices([*_ODD, *_WORDS], k=rng.randint(1, 8))
            text = rng.choice(["", " ", "  ", "_", "-"]).join(parts)
        else:
            text = "".join(
                chr(rng.randint(*rng.choice(_SCRIPTS))) for _ in range(rng.randint(1, 20))
            )
        if rng.random() < 0.2:
            text = text.upper() if rng.random() < 0.5 else text.title()
        if rng.random() < 0.05:
            text = text * 8
        if not any(mark in text for mark in ("<", ">")):
            found.append(text)
    return tuple(found)


def _train(folder: Path, name: str, kind: str, size: int, **more: Any) -> Path:
    corpus = folder / "corpus.txt"
    rng = random.Random(1)
    lines = [" ".join(rng.choice(_WORDS) for _ in range(8)) for _ in range(600)]
    corpus.write_text("\n".join([*lines, *(t for t in _ODD if t.strip())]), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(folder / "m"), model_type=kind, vocab_size=size,
        hard_vocab_limit=False, minloglevel=2, character_coverage=0.98, **more,
    )  # fmt: skip
    corpus.unlink()
    (folder / "m.vocab").unlink()
    return (folder / "m.model").rename(folder / name)


Made = tuple[Path, Path, Any]
"""A folder with a SentencePiece model, one with a tokenizer.json, and transformers' tokenizer."""


def _saved(tokenizer: Any, top: Path) -> Path:
    folder = top / "fast"
    tokenizer.save_pretrained(folder)
    return folder


def xlm_roberta(top: Path) -> Made:
    """XLM-R's unigram vocabulary under fairseq's ids."""
    _train(top, "sentencepiece.bpe.model", "unigram", 300)
    original = XLMRobertaTokenizer.from_pretrained(top)
    return top, _saved(original, top), original


def t5(top: Path) -> Made:
    """T5's: ``<pad> </s> <unk>`` first, a hundred extra ids behind."""
    _train(top, "spiece.model", "unigram", 300, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    original = T5Tokenizer.from_pretrained(top)
    return top, _saved(original, top), original


def mt5(top: Path) -> Made:
    """mT5's: the extra ids are pieces of the SentencePiece model itself."""
    extra = [f"<extra_id_{i}>" for i in range(4, -1, -1)]
    path = _train(top, "spiece.model", "unigram", 300, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    _append(path, extra)
    original = T5Tokenizer.from_pretrained(top, extra_ids=0)
    return top, _saved(original, top), original


def _append(path: Path, pieces: Sequence[str]) -> None:
    """User-defined pieces behind the others."""
    from transformers.convert_slow_tokenizer import import_protobuf

    model = import_protobuf().ModelProto()
    model.ParseFromString(path.read_bytes())
    for piece in pieces:
        model.pieces.add(piece=piece, score=0.0, type=4)
    path.write_bytes(model.SerializeToString())


def siglip(top: Path) -> Made:
    """transformers' slow class, over T5's vocabulary."""
    _train(top, "spiece.model", "unigram", 300, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    original = SiglipTokenizer.from_pretrained(top)
    return top, top, original


def nllb(top: Path) -> Made:
    """NLLB's BPE with its languages; the class loses them where it reads the model itself."""
    _train(top, "sentencepiece.bpe.model", "bpe", 400)
    read = NllbTokenizer.from_pretrained(top)
    original = NllbTokenizer(
        vocab=read._vocab, merges=read._merges, src_lang="rus_Cyrl",
        _spm_precompiled_charsmap=_charsmap(top / "sentencepiece.bpe.model"),
    )  # fmt: skip
    return top, _saved(original, top), original


def _charsmap(path: Path) -> bytes:
    from transformers.convert_slow_tokenizer import SentencePieceExtractor

    found: bytes = SentencePieceExtractor(str(path)).proto.normalizer_spec.precompiled_charsmap
    return found


def gemma(top: Path, *, second: bool = True) -> Made:
    """Gemma's BPE, with bytes for what it lacks; in lower case for SigLIP 2."""
    _train(
        top, "tokenizer.model", "bpe", 600, pad_id=0, eos_id=1, bos_id=2, unk_id=3,
        byte_fallback=True, add_dummy_prefix=False, normalization_rule_name="identity",
        remove_extra_whitespaces=False, allow_whitespace_only_pieces=True,
    )  # fmt: skip
    read = GemmaTokenizer.from_pretrained(top)
    cls = Siglip2Tokenizer if second else GemmaTokenizer
    original = cls(
        vocab=read._vocab, merges=read._merges, add_bos_token=False, add_eos_token=True,
        padding_side="right",
    )  # fmt: skip
    return top, _saved(original, top), original


MAKERS: dict[str, Callable[[Path], Made]] = {
    "xlm_roberta": xlm_roberta, "t5": t5, "mt5": mt5, "nllb": nllb, "gemma": gemma,
}  # fmt: skip
