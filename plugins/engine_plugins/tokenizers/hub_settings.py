"""Settings of the tokenizers of transformers' multilingual models. Imports no tokenizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from engine.contracts.description import Description
from engine_plugins.tokenizers import proposed
from engine_plugins.tokenizers.languages import NLLB_LANGUAGES
from engine_plugins.tokenizers.settings import TrainableSettings

Cleaning = Literal["none", "whitespace", "lower", "canonicalize"]


class HubSettings(TrainableSettings):
    """A tokenizer of transformers: its `tokenizer.json`, or the SentencePiece model beside it."""

    clean: Cleaning = Field(
        "none",
        description="what open_clip does to a text first: `whitespace` mends wrong encodings and"
        " HTML and folds white space (its default), `lower` also lower case, `canonicalize` also"
        " takes punctuation out (SigLIP); `none` as in transformers",
    )


class T5Settings(HubSettings):
    """T5's unigram vocabulary (c4, mT5): `tokenizer.json` or `spiece.model`; `ids </s>`."""

    pad: str = Field(
        "<pad>", min_length=1, description="the token that fills a row up; SigLIP: `</s>`"
    )

    @classmethod
    def propose(cls, found: Sequence[Description]) -> Mapping[str, Any] | None:
        """See the contract."""
        return proposed.t5(found)


class SiglipTokenizerSettings(TrainableSettings):
    """transformers' SiglipTokenizer: `spiece.model`; punctuation out, `ids </s>`."""

    lower: bool = Field(True, description="lower case first (transformers' do_lower_case)")
    pad: Literal["</s>", "<pad>"] = Field("</s>", description="the token that fills a row up")

    @classmethod
    def propose(cls, found: Sequence[Description]) -> Mapping[str, Any] | None:
        """See the contract."""
        return proposed.siglip(found)


class GemmaSettings(HubSettings):
    """Gemma's byte-fallback BPE: `tokenizer.json`; the defaults are SigLIP 2's."""

    lower: bool = Field(
        True, description="lower case first: transformers' Siglip2Tokenizer, not Gemma itself"
    )
    begin: bool = Field(False, description="`<bos>` before a text")
    end: bool = Field(True, description="`<eos>` after a text")

    @classmethod
    def propose(cls, found: Sequence[Description]) -> Mapping[str, Any] | None:
        """See the contract."""
        return proposed.gemma(found)


class XlmRobertaSettings(HubSettings):
    """XLM-RoBERTa's unigram vocabulary; `<s> ids </s>`.

    `tokenizer.json`, or `sentencepiece.bpe.model`, whose ids move up by one.
    """

    @classmethod
    def propose(cls, found: Sequence[Description]) -> Mapping[str, Any] | None:
        """See the contract."""
        return proposed.xlm_roberta(found)


class NllbSettings(HubSettings):
    """NLLB's BPE: `tokenizer.json` or `sentencepiece.bpe.model`; `LANGUAGE ids </s>`."""

    language: Literal[NLLB_LANGUAGES] = Field(  # type: ignore[valid-type]
        "eng_Latn", description="the language of the texts: `rus_Cyrl`, `eng_Latn` ..."
    )
    legacy: bool = Field(
        False, description="the language after the text, `ids </s> LANGUAGE`, as in old versions"
    )

    @classmethod
    def propose(cls, found: Sequence[Description]) -> Mapping[str, Any] | None:
        """See the contract."""
        return proposed.nllb(found)
