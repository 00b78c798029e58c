"""Settings of the built-in embedders. Nothing here imports torch."""

from __future__ import annotations

from pydantic import Field

from engine.contracts.clustering_settings import EmbedderSettings
from engine.contracts.values import Device


class SentenceTransformerSettings(EmbedderSettings):
    """Any model of the library sentence-transformers, or a plain encoder with mean pooling."""

    model: str = Field(
        pattern=r"^(hf:\S+|file:\S.*|package:[^\s/]+/\S.*)$",
        description="hf:<repository>, file:<folder>, or package:<distribution>/<folder> of an"
        " installed package that carries a model (its files are read, none of it is imported)",
    )
    batch_size: int = Field(64, ge=1, le=4096, description="texts that run through it at once")
    max_tokens: int = Field(
        64, ge=4, le=8192, description="longest token sequence; longer texts are cut"
    )
    device: Device = Field(
        "auto", description="where it computes; auto: a GPU where there is one, else the CPU"
    )
    prompt: str = Field("", max_length=1000, description="what the model wants before every text")


class TfidfSvdSettings(EmbedderSettings):
    """TF-IDF of character n-grams, made dense by a truncated SVD; learnt from the texts alone."""

    width: int = Field(256, ge=2, le=4096, description="length of a vector, at most")
    shortest: int = Field(2, ge=1, le=16, description="shortest character n-gram, inside of words")
    longest: int = Field(5, ge=1, le=16, description="longest character n-gram")
    vocabulary: int = Field(
        20_000, ge=2, le=1_000_000, description="most frequent character n-grams to keep"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="of the SVD's random start")
