"""Settings of the compressors. Nothing here imports torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from engine.contracts.compressor import CompressorSettings
from engine.contracts.limits import MAX_LAYERS, MAX_TOKENS, MAX_WIDTH


class TrimVocabularySettings(CompressorSettings):
    """Which tokens stay."""

    languages: tuple[str, ...] = Field(
        (),
        description="codes of languages (`ru`) or names of scripts (`Cyrillic`): every token that"
        " their characters can spell stays",
    )
    corpus: bool = Field(
        False, description="keep the tokens of the given texts, too, or these alone"
    )

    @model_validator(mode="after")
    def _something_stays(self) -> Self:
        if not self.languages and not self.corpus:
            raise ValueError("name `languages`, or set `corpus: true`, or both")
        return self


class TrimPositionsSettings(CompressorSettings):
    """How many positions stay."""

    max_tokens: int | None = Field(
        None,
        ge=2,
        le=MAX_TOKENS,
        description="longest token sequence from now on; null: as the config says, so that unused"
        " rows alone go",
    )


class DropLayersSettings(CompressorSettings):
    """Which layers of a transformer stay."""

    tower: Literal["text", "vision"] = Field("text", description="whose layers")
    keep: int = Field(
        ge=1, le=MAX_LAYERS, description="how many stay, evenly spaced, the last one among them"
    )


class FoldNormsSettings(CompressorSettings):
    """It has none: whatever can be folded is folded."""


class SvdTablesSettings(CompressorSettings):
    """How much of the token table stays."""

    rank: int = Field(ge=1, le=MAX_WIDTH, description="numbers of each row that stay")


class SwapTextSettings(CompressorSettings):
    """The text encoder that takes the place of the model's own."""

    width: int = Field(256, ge=1, le=MAX_WIDTH, description="width of its token embeddings")
    layers: int = Field(
        0,
        ge=0,
        le=MAX_LAYERS,
        description="blocks of a transformer; 0: the mean of the token embeddings",
    )
