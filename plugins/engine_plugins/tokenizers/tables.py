"""The built-in tokenizers in the words of other programs. Nothing here imports tokenizers.

The defaults are those of transformers' classes (5.24; the same in version 4): a
``tokenizer_config.json`` that names ``BertTokenizer`` and says nothing of case means lower case.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.contracts.description import ABSENT, Fact, Table, same_token

_UNSET = "<|endoftext|>"  # what GPT-2's class writes where nobody chose a mark


def _mark(key: str, setting: str, default: Any = ABSENT) -> Fact:
    return Fact(key, lambda t: getattr(t.settings, setting), setting, default,
                lambda theirs, ours: not theirs or same_token(theirs, ours)
                or same_token(theirs, _UNSET))  # fmt: skip


def _named(key: str, mark: str) -> Fact:
    """A mark of its own, or none at all (``null``)."""
    return Fact(key, lambda t: mark, default=mark,
                same=lambda theirs, ours: theirs is None or same_token(theirs, ours))  # fmt: skip


def _same_accents(theirs: Any, ours: Any) -> bool:
    """``None`` means: as the case. Both are compared as (accents, lower case)."""
    return theirs is None or theirs is ours


def _accents(tokenizer: Any) -> bool:
    own = tokenizer.settings
    return bool(own.do_lower_case if own.strip_accents is None else own.strip_accents)


def steps(theirs: Any) -> list[Mapping[str, Any]]:
    """The steps of a normalizer or splitter of the library `tokenizers`."""
    if not isinstance(theirs, Mapping):
        return []
    inner = theirs.get("normalizers", theirs.get("pretokenizers"))
    if theirs.get("type") == "Sequence" and isinstance(inner, list):
        return [step for step in inner if isinstance(step, Mapping)]
    return [theirs]


def _bert_step(theirs: Any) -> Mapping[str, Any]:
    return next((s for s in steps(theirs) if s.get("type") == "BertNormalizer"), {})


def _knows_normalizers(theirs: Any, ours: Any) -> bool:
    """BERT's own step, and beside it what changes no word: case, and white space."""
    types = [step.get("type") for step in steps(theirs)]
    return ours in types and set(types) <= {ours, "Lowercase", "Strip", "Replace"}


def _same_case(theirs: Any, ours: Any) -> bool:
    lower = any(step.get("type") == "Lowercase" for step in steps(theirs))
    return (lower or bool(_bert_step(theirs).get("lowercase"))) is ours


def _same_accents_of_steps(theirs: Any, ours: Any) -> bool:
    step = _bert_step(theirs)
    stripped = step.get("strip_accents")
    return bool(step.get("lowercase") if stripped is None else stripped) is ours


def _same_cleaning(theirs: Any, ours: Any) -> bool:
    step = _bert_step(theirs)
    return all(step.get(key, True) is ours for key in ("clean_text", "handle_chinese_chars"))


def _unnamed_or(*values: object) -> Any:
    return lambda theirs, ours: theirs in values


def _either(*marks: str) -> Any:
    """OpenAI's name of a mark, or open_clip's."""
    return lambda theirs, ours: any(same_token(theirs, mark) for mark in marks)


_LOWER = "do_lower_case"
_BERT_KINDS = (
    "BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer",
    "LxmertTokenizer", "MobileBertTokenizer", "RetriBertTokenizer", "DPRQuestionEncoderTokenizer",
    "DPRContextEncoderTokenizer", "ConvBertTokenizer", "FunnelTokenizer", "LayoutLMTokenizer",
)  # fmt: skip

WORDPIECE = (
    Table("transformers", _BERT_KINDS, (
        Fact(_LOWER, lambda t: t.settings.do_lower_case, _LOWER, True),
        Fact("strip_accents", _accents, "strip_accents", same=_same_accents),
        Fact("tokenize_chinese_chars", lambda t: True, default=True),
        Fact("do_basic_tokenize", lambda t: True, default=True),
        Fact("never_split", lambda t: None, same=lambda theirs, ours: not theirs),
        _named("cls_token", "[CLS]"),
        _named("sep_token", "[SEP]"),
        _named("unk_token", "[UNK]"),
    ), strict=False),
    Table("tokenizers", (), (
        Fact("normalizer", lambda t: "BertNormalizer", same=_knows_normalizers),
        Fact("normalizer", lambda t: t.settings.do_lower_case, _LOWER, same=_same_case),
        Fact("normalizer", _accents, "strip_accents", same=_same_accents_of_steps),
        Fact("normalizer", lambda t: True, same=_same_cleaning),
        Fact("pre_tokenizer", lambda t: "BertPreTokenizer",
             same=lambda theirs, ours: [s.get("type") for s in steps(theirs)] == [ours]),
        Fact("model.type", lambda t: "WordPiece"),
        Fact("model.continuing_subword_prefix", lambda t: "##"),
        Fact("model.max_input_chars_per_word", lambda t: 100),
    ), strict=False),
)  # fmt: skip

GPT2_BPE = (
    Table("transformers", ("GPT2Tokenizer", "RobertaTokenizer"), (
        Fact("add_prefix_space", lambda t: t.add_prefix_space, "add_prefix_space", False),
        _mark("bos_token", "bos"),
        _mark("eos_token", "eos"),
        Fact("pad_token", lambda t: t.settings.pad, "pad", refuse=False,
             same=lambda theirs, ours: not theirs or same_token(theirs, ours)
             or same_token(theirs, _UNSET), note="padding is masked"),
        Fact(_LOWER, lambda t: False, same=_unnamed_or(False, None)),
    ), strict=False),
)  # fmt: skip

CLIP_BPE = (
    Table("transformers", ("CLIPTokenizer",), (
        Fact(_LOWER, lambda t: True, default=True),
        Fact("add_prefix_space", lambda t: False, same=_unnamed_or(False, None)),
        Fact("bos_token", lambda t: "<|startoftext|>", default="<|startoftext|>",
             same=_either("<|startoftext|>", "<start_of_text>")),
        Fact("eos_token", lambda t: "<|endoftext|>", default="<|endoftext|>",
             same=_either("<|endoftext|>", "<end_of_text>")),
    ), strict=False),
    Table("open_clip", (), (
        Fact("hf_tokenizer_name", lambda t: None, default=None, same=_unnamed_or(None, "")),
        Fact("tokenizer_kwargs.clean", lambda t: "lower", same=_unnamed_or("lower", None)),
        Fact("tokenizer_kwargs.reduction_mask", lambda t: None, same=_unnamed_or("", None)),
    ), strict=False),
)  # fmt: skip

_SPM = (
    Fact(_LOWER, lambda t: t.settings.lower, "lower"),
    Fact("sp_model_kwargs", lambda t: {}, default=None,
         same=lambda theirs, ours: not (isinstance(theirs, Mapping)
                                        and theirs.get("enable_sampling"))),
)  # fmt: skip
SENTENCEPIECE = (
    # Whose ids are the model's own. XLM-RoBERTa, CamemBERT and their like shift them by one or
    # more; ALBERT, XLNet and T5 put other marks around a text.
    Table("transformers", ("LlamaTokenizer", "GemmaTokenizer", "CodeLlamaTokenizer"), (
        *_SPM,
        Fact("add_bos_token", lambda t: t.settings.marks, "marks", True),
        Fact("add_eos_token", lambda t: t.settings.marks, "marks", False),
    ), strict=False),
)  # fmt: skip

YOUTOKENTOME = (
    Table("transformers", (), (Fact(_LOWER, lambda t: t.settings.lower, "lower"),), strict=False),
)
