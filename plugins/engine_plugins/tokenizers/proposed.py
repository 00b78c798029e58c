"""Tokenizers as other programs describe them: the settings of a config. No tokenizers, no torch.

``tokenizer_config.json`` names transformers' class. Where that is a general one, the model and the
normalizer in ``tokenizer.json`` say what sort it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.contracts.description import Description

BERT_KINDS = (
    "BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer",
    "LxmertTokenizer", "MobileBertTokenizer", "RetriBertTokenizer", "DPRQuestionEncoderTokenizer",
    "DPRContextEncoderTokenizer", "ConvBertTokenizer", "FunnelTokenizer", "LayoutLMTokenizer",
)  # fmt: skip
"""transformers' classes that give BERT's ids."""

_WORD_END = "</w>"


def clip_bpe(found: Sequence[Description]) -> Mapping[str, Any] | None:
    """CLIP's own: named so, by its words' end mark, or open_clip's default."""
    kinds = _kinds(found)
    if kinds:
        return {} if kinds == {"CLIPTokenizer"} else None
    model = _model(found)
    if model:
        return {} if model.get("end_of_word_suffix") == _WORD_END else None
    own = [one for one in found if one.program == "open_clip"]
    if own and not own[0].values.get("hf_tokenizer_name"):
        return {"from": "open_clip:bpe_simple_vocab_16e6"}
    return None


def wordpiece(found: Sequence[Description]) -> Mapping[str, Any] | None:
    """BERT's, with its case."""
    kinds = _kinds(found)
    if kinds and not kinds <= set(BERT_KINDS):
        return None
    if kinds:
        stated = next(one.values for one in found if one.kind in kinds)
        lower, accents = stated.get("do_lower_case", True), stated.get("strip_accents")
    elif _model(found).get("type") == "WordPiece":
        step = _bert_step(found)
        lower, accents = step.get("lowercase", False), step.get("strip_accents")
    else:
        return None
    return {"do_lower_case": lower, **({} if accents is None else {"strip_accents": accents})}


def gpt2_bpe(found: Sequence[Description]) -> Mapping[str, Any] | None:
    """GPT-2's, with its marks."""
    if not _kinds(found) <= {"GPT2Tokenizer", "RobertaTokenizer"} or not _kinds(found):
        return None
    marks: dict[str, Any] = {}
    for one in found:
        if one.program == "transformers":
            for key in ("bos", "eos", "pad"):
                token = one.values.get(f"{key}_token")
                token = token.get("content") if isinstance(token, Mapping) else token
                if isinstance(token, str):
                    marks.setdefault(key, token)
    return marks


def t5(found: Sequence[Description]) -> Mapping[str, Any] | None:
    """T5's and mT5's; SigLIP's own class where open_clip reads its vocabulary as T5's."""
    kinds = _kinds(found)
    if not kinds or not kinds <= {"T5Tokenizer", "MT5Tokenizer"}:
        return None
    return {**_cleaning(found), **_mark(found, "pad")}


def siglip(found: Sequence[Description]) -> Mapping[str, Any] | None:
    """transformers' SiglipTokenizer."""
    if _kinds(found) != {"SiglipTokenizer"}:
        return None
    stated = next(one.values for one in found if one.kind == "SiglipTokenizer")
    return {"lower": bool(stated.get("do_lower_case", True)), **_mark(found, "pad")}


def gemma(found: Sequence[Description]) -> Mapping[str, Any] | None:
    """Gemma's, as SigLIP 2 has it."""
    kinds = _kinds(found)
    if not kinds or not kinds <= {"GemmaTokenizer", "Siglip2Tokenizer"}:
        return None
    stated = next(one.values for one in found if one.kind in kinds)
    lower = stated.get("do_lower_case", "Siglip2Tokenizer" in kinds)
    names = {"add_bos_token": "begin", "add_eos_token": "end"}
    marks = {ours: bool(stated[theirs]) for theirs, ours in names.items() if theirs in stated}
    return {**_cleaning(found), "lower": bool(lower) or _lowers(found), **marks}


def xlm_roberta(found: Sequence[Description]) -> Mapping[str, Any] | None:
    """XLM-RoBERTa's."""
    return _cleaning(found) if _kinds(found) == {"XLMRobertaTokenizer"} else None


def nllb(found: Sequence[Description]) -> Mapping[str, Any] | None:
    """NLLB's, with its language."""
    if _kinds(found) != {"NllbTokenizer"}:
        return None
    stated = next(one.values for one in found if one.kind == "NllbTokenizer")
    language = stated.get("src_lang") or "eng_Latn"
    legacy = bool(stated.get("legacy_behaviour", False))
    return {**_cleaning(found), "language": language, "legacy": legacy}


def _cleaning(found: Sequence[Description]) -> dict[str, Any]:
    """What open_clip does to a text first; transformers does nothing."""
    for one in found:
        if one.program == "open_clip":
            arguments = one.values.get("tokenizer_kwargs")
            stated = arguments.get("clean") if isinstance(arguments, Mapping) else None
            return {"clean": stated or "whitespace"}
    return {}


def _mark(found: Sequence[Description], mark: str) -> dict[str, Any]:
    for one in found:
        token = one.values.get(f"{mark}_token") if one.program == "transformers" else None
        token = token.get("content") if isinstance(token, Mapping) else token
        if isinstance(token, str):
            return {mark: token}
    return {}


def _lowers(found: Sequence[Description]) -> bool:
    """Whether a ``tokenizer.json`` puts texts into lower case."""
    for one in found:
        step = one.values.get("normalizer") if one.program == "tokenizers" else None
        steps = step.get("normalizers", [step]) if isinstance(step, Mapping) else []
        if any(isinstance(s, Mapping) and s.get("type") == "Lowercase" for s in steps):
            return True
    return False


def youtokentome(found: Sequence[Description]) -> Mapping[str, Any] | None:
    """ruCLIP's: a file of its name, and nothing that says otherwise."""
    files = {one.kind for one in found if one.program == "file"}
    return {} if "bpe.model" in files and not _kinds(found) and not _model(found) else None


def _kinds(found: Sequence[Description]) -> set[str]:
    return {one.kind for one in found if one.program == "transformers" and one.kind}


def _model(found: Sequence[Description]) -> Mapping[str, Any]:
    for one in found:
        if one.program == "tokenizers" and isinstance(one.values.get("model"), Mapping):
            model: Mapping[str, Any] = one.values["model"]
            return model
    return {}


def _bert_step(found: Sequence[Description]) -> Mapping[str, Any]:
    """BERT's own step of ``tokenizer.json``; of several steps the one."""
    for one in found:
        step = one.values.get("normalizer") if one.program == "tokenizers" else None
        if isinstance(step, Mapping):
            steps = step.get("normalizers", [step])
            for each in steps if isinstance(steps, list) else []:
                if isinstance(each, Mapping) and each.get("type") == "BertNormalizer":
                    return each
    return {}
