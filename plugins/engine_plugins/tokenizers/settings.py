"""Settings of the built-in tokenizers. Nothing here imports torch or tokenizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from engine.contracts import SourceName, TokenizerSettings
from engine.contracts.description import Description
from engine_plugins.tokenizers import proposed


def _plain_name(name: str) -> str:
    if "/" in name or "\\" in name or name in (".", ".."):
        raise ValueError("expected the name of a file, without a folder")
    return name


FileName = Annotated[str, Field(min_length=1), AfterValidator(_plain_name)]
"""Name of a file inside the source's folder or repository."""


class TrainableSettings(TokenizerSettings):
    """A tokenizer that can learn a vocabulary of its own kind from the config's queries."""

    min_frequency: int = Field(
        2, ge=1, description="when trained: two pieces that meet less often are not joined"
    )


class Gpt2BpeSettings(TrainableSettings):
    """GPT-2's byte-level BPE: `vocab.json` and `merges.txt`, or a `tokenizer.json`."""

    bos: str = Field("<s>", min_length=1, description="the mark that begins a text")
    eos: str = Field("</s>", min_length=1, description="the mark that ends a text")
    pad: str = Field("<pad>", min_length=1, description="the token that fills a row up")
    add_prefix_space: bool | None = Field(
        None,
        description="a space before the text, so that its first word is like the others; by default"
        " as the source says, else false",
    )

    @classmethod
    def propose(cls, found: Sequence[Description]) -> Mapping[str, Any] | None:
        """See the contract."""
        return proposed.gpt2_bpe(found)


class ClipBpeSettings(TrainableSettings):
    """OpenAI CLIP's BPE; its vocabulary comes with open_clip, so it needs no network."""

    from_: SourceName = Field(
        "open_clip:bpe_simple_vocab_16e6",
        alias="from",
        description="open_clip:<anything> for the vocabulary that open_clip carries; or a source"
        " with `bpe_simple_vocab_16e6.txt.gz` or `merges.txt`",
    )

    @classmethod
    def propose(cls, found: Sequence[Description]) -> Mapping[str, Any] | None:
        """See the contract."""
        return proposed.clip_bpe(found)


class WordPieceSettings(TrainableSettings):
    """BERT's WordPiece: `vocab.txt`."""

    do_lower_case: bool = Field(False, description="lower case first (for uncased vocabularies)")
    strip_accents: bool | None = Field(
        None, description="take accents off (й becomes и); by default as do_lower_case"
    )

    @classmethod
    def propose(cls, found: Sequence[Description]) -> Mapping[str, Any] | None:
        """See the contract."""
        return proposed.wordpiece(found)


class SentencePieceSettings(TrainableSettings):
    """A SentencePiece `.model` file, BPE or unigram."""

    file: FileName | None = Field(
        None,
        description="name of the file in the source; by default tokenizer.model, spiece.model,"
        " sentencepiece.bpe.model or spm.model",
    )
    marks: bool = Field(
        True, description="put the model's <s> before and </s> after a text; false for none"
    )
    lower: bool = Field(False, description="lower case first (BPEmb's vocabularies want it)")
    zero_digits: bool = Field(
        False, description="every digit becomes 0 first (BPEmb's vocabularies want it)"
    )


class YouTokenToMeSettings(TrainableSettings):
    """A YouTokenToMe `bpe.model` file, as ruCLIP uses it."""

    file: FileName = Field("bpe.model", description="name of the file in the source")
    lower: bool = Field(True, description="lower case first, as ruCLIP does")

    @classmethod
    def propose(cls, found: Sequence[Description]) -> Mapping[str, Any] | None:
        """See the contract."""
        return proposed.youtokentome(found)


class TrainedSettings(TrainableSettings):
    """A BPE trained on the config's own queries, at most the text encoder's vocab_size."""

    lower: bool = Field(True, description="lower case first")
    byte_level: bool = Field(
        False,
        description="learn from bytes: no character is unknown, Russian ones begin as two pieces",
    )
    marks: bool = Field(True, description="put <s> before and </s> after a text; false for none")

    @field_validator("from_")
    @classmethod
    def _own_files_only(cls, source: str) -> str:
        if source.startswith(("hf:", "open_clip:")):
            raise ValueError(
                "`trained` learns from the queries: expected `scratch`, or `artifact:<folder>` or"
                " `file:<path>` for one that Engine trained before"
            )
        return source


class CharNgramsSettings(TokenizerSettings):
    """Hashed character n-grams and whole words (fastText's subwords): no vocabulary, no training.

    The rows of the text encoder's table are the buckets of the hash.
    """

    from_: Literal["scratch"] = Field(
        "scratch", alias="from", description="`scratch`: there is no vocabulary to be read"
    )
    shortest: int = Field(3, ge=1, le=16, description="letters of the shortest n-gram")
    longest: int = Field(5, ge=1, le=16, description="letters of the longest n-gram")
    words: bool = Field(True, description="whole words, too")
    lower: bool = Field(True, description="lower case first")
    replace: dict[str, str] = Field(
        {}, description="letters that stand for others: `{ё: е}`", max_length=256
    )

    @field_validator("replace")
    @classmethod
    def _single_letters(cls, replace: dict[str, str]) -> dict[str, str]:
        if not all(len(old) == 1 and len(new) <= 4 for old, new in replace.items()):
            raise ValueError("each entry is one letter and up to four that stand in its place")
        return replace

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.shortest > self.longest:
            raise ValueError(f"`shortest` {self.shortest} is above `longest` {self.longest}")
        return self


class TokenizerJsonSettings(TokenizerSettings):
    """Any `tokenizer.json` of the library `tokenizers`, as it is."""

    marks: bool = Field(
        True,
        description="the marks that the file puts around a text; false for none (model2vec)",
    )

    @field_validator("from_")
    @classmethod
    def _a_file(cls, source: str) -> str:
        if source.startswith(("scratch", "open_clip:")):
            raise ValueError(
                "`tokenizer_json` reads a file: expected `hf:<repository>`, `file:<path>` or"
                " `artifact:<folder>`"
            )
        return source
