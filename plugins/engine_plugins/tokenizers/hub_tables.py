"""The tokenizers of multilingual models in transformers' and open_clip's words.

Nothing here imports tokenizers. The defaults are those of transformers' classes (5.24).
"""

from __future__ import annotations

from typing import Any

from engine.contracts.description import Fact, Table, same_token
from engine_plugins.tokenizers.tables import steps

__all__ = ["GEMMA", "NLLB", "SIGLIP", "T5", "XLM_ROBERTA", "steps"]


def _token(key: str, mark: str) -> Fact:
    """A mark of the family; ``null`` says nothing."""
    return Fact(key, lambda t: mark, default=mark,
                same=lambda theirs, ours: theirs is None or same_token(theirs, ours))  # fmt: skip


def _same_side(theirs: Any, ours: Any) -> bool:
    return bool(theirs == ours)


_RIGHT = Fact("padding_side", lambda t: "right", default="right", same=_same_side, refuse=False,
              note="padding follows a text")  # fmt: skip
_NOT_LOWER = Fact("do_lower_case", lambda t: t.settings.clean in ("lower", "canonicalize"),
                  "clean", same=lambda theirs, ours: bool(theirs) in (False, ours))  # fmt: skip
_OPEN_CLIP = Table("open_clip", (), (
    Fact("tokenizer_kwargs.clean", lambda t: t.settings.clean, "clean", "whitespace"),
    Fact("tokenizer_kwargs.strip_sep_token", lambda t: False,
         same=lambda theirs, ours: not theirs),
    Fact("tokenizer_mode", lambda t: None, same=lambda theirs, ours: not theirs),
), strict=False)  # fmt: skip


T5 = (
    Table("transformers", ("T5Tokenizer", "MT5Tokenizer", "SiglipTokenizer"), (
        _token("eos_token", "</s>"),
        _token("unk_token", "<unk>"),
        Fact("pad_token", lambda t: t.settings.pad, "pad",
             same=lambda theirs, ours: theirs is None or same_token(theirs, ours)),
        _NOT_LOWER,
        _RIGHT,
    ), strict=False),
    _OPEN_CLIP,
)  # fmt: skip

SIGLIP = (
    Table("transformers", ("SiglipTokenizer",), (
        _token("eos_token", "</s>"),
        _token("unk_token", "<unk>"),
        Fact("pad_token", lambda t: t.settings.pad, "pad", "</s>",
             same=lambda theirs, ours: theirs is None or same_token(theirs, ours)),
        Fact("do_lower_case", lambda t: t.settings.lower, "lower", True),
        _RIGHT,
    ), strict=False),
)  # fmt: skip

XLM_ROBERTA = (
    Table("transformers", ("XLMRobertaTokenizer",), (
        _token("bos_token", "<s>"),
        _token("cls_token", "<s>"),
        _token("eos_token", "</s>"),
        _token("sep_token", "</s>"),
        _token("pad_token", "<pad>"),
        _token("unk_token", "<unk>"),
        _NOT_LOWER,
        _RIGHT,
    ), strict=False),
    _OPEN_CLIP,
)  # fmt: skip

NLLB = (
    Table("transformers", ("NllbTokenizer",), (
        Fact("src_lang", lambda t: t.settings.language, "language", "eng_Latn",
             same=lambda theirs, ours: theirs is None or theirs == ours),
        Fact("legacy_behaviour", lambda t: t.settings.legacy, "legacy", False),
        _token("eos_token", "</s>"),
        _token("pad_token", "<pad>"),
        _RIGHT,
    ), strict=False),
    _OPEN_CLIP,
)  # fmt: skip


def _lower(tokenizer: Any) -> bool:
    return bool(tokenizer.settings.lower or tokenizer.settings.clean in ("lower", "canonicalize"))


_GEMMA_MARKS = (
    _token("bos_token", "<bos>"),
    _token("eos_token", "<eos>"),
    _token("pad_token", "<pad>"),
    Fact("add_bos_token", lambda t: t.settings.begin, "begin"),
    Fact("add_eos_token", lambda t: t.settings.end, "end"),
    Fact("padding_side", lambda t: "right", default="left",
         note="the encoder reads padding, so its side matters"),
)  # fmt: skip
GEMMA = (
    Table("transformers", ("Siglip2Tokenizer",), (
        *_GEMMA_MARKS,
        Fact("do_lower_case", _lower, "lower", True),
    ), strict=False),
    Table("transformers", ("GemmaTokenizer",), (
        *_GEMMA_MARKS,
        Fact("do_lower_case", _lower, "lower"),
    ), strict=False),
    _OPEN_CLIP,
)  # fmt: skip
