"""The settings of a whole config. Nothing here imports torch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from engine.contracts.limits import MAX_SEED, MAX_WIDTH
from engine.contracts.refs import (
    ClustererRef,
    DatasetRef,
    EmbedderRef,
    ProjectionRef,
    StorageRef,
    TextEncoderRef,
    VisionTowerRef,
)
from engine.contracts.settings import Settings
from engine.contracts.values import Bytes
from engine.core.config.train_schema import TrainSettings


class ProjectionsSettings(Settings):
    """The projection of each modality."""

    vision: ProjectionRef
    text: ProjectionRef


class ModelSettings(Settings):
    """Two towers and how they meet."""

    embed_dim: int = Field(ge=1, le=MAX_WIDTH, description="width of the joint space")
    vision: VisionTowerRef
    text: TextEncoderRef
    projection: ProjectionsSettings
    logit_scale: float = Field(
        math.log(1 / 0.07),
        description="logarithm of the factor on cosine similarities, at the start of training",
    )
    logit_bias: float | None = Field(
        None,
        allow_inf_nan=False,
        description="what is added to the scaled similarities, at the start of training (SigLIP:"
        " -10); null: the model has no such parameter",
    )


class DataSettings(Settings):
    """Where texts and images come from."""

    train: DatasetRef | None = Field(
        None,
        description="training data; its queries also train a tokenizer that is built from scratch",
    )
    evaluate: tuple[DatasetRef, ...] = Field((), description="data sets to be evaluated on")
    prepared: Path | None = Field(
        None, description="folder of `engine data prepare` (build/prepared)"
    )


class ClustersSettings(Settings):
    """Clusters of meaning among the queries of ``data.train``."""

    ngram: int = Field(
        3, ge=1, le=10, description="words of an n-gram; a shorter text counts as a whole"
    )
    most_frequent: int = Field(
        20_000, ge=2, le=1_000_000, description="n-grams that are clustered: the most frequent ones"
    )
    held_out: float = Field(
        0.1, ge=0, lt=1, description="share of the n-grams that evaluates the classifier; 0: none"
    )
    embedder: EmbedderRef
    clusterer: ClustererRef


class ZeroShotSettings(Settings):
    """How class names become class vectors."""

    templates: tuple[str, ...] = Field(
        ("{}",), min_length=1, description="each with one `{}`, the place of the class name"
    )
    lower: bool = Field(False, description="class names in lower case, stripped")
    average: Literal["normalised", "raw"] = Field(
        "normalised",
        description="the mean over templates of the normalised text vectors (CLIP) or of the raw"
        " ones (ruCLIP); the mean is normalised either way",
    )

    @field_validator("templates")
    @classmethod
    def _one_place(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            if template.count("{}") != 1:
                raise ValueError(f"template {template!r} must hold `{{}}` exactly once")
        return templates


class WeightStorageSettings(Settings):
    """How each tensor of the weights is written.

    For a tensor of floating-point numbers the first of these that applies: ``keep``, the first rule
    whose pattern matches its name, ``default``. Where the storage that is found this way cannot
    hold a tensor of its shape (a vector has no rows), ``keep_as`` applies. Where nothing applies,
    the numbers stay float32. Integers and truth values are stored as they are.
    """

    default: StorageRef | None = Field(
        None,
        description="storage of every tensor that nothing else applies to; null: float32, as the"
        " model holds it",
    )
    rules: tuple[StorageRef, ...] = Field(
        (), description="`{match: PATTERN, use: NAME, ...}`: the first whose pattern matches counts"
    )
    keep: tuple[str, ...] = Field(
        (),
        description="what is stored as `keep_as` says: `norms` (weights, biases and statistics of"
        " normalisation layers), `biases`, or patterns of names",
    )
    keep_as: StorageRef | None = Field(
        None,
        description="storage of what is kept, and of what its own storage cannot hold; null:"
        " float32, as the model holds it",
    )

    @field_validator("default", "keep_as")
    @classmethod
    def _for_all(cls, ref: StorageRef | None) -> StorageRef | None:
        if ref is not None and ref.settings.match != "*":
            raise ValueError("`match` stands in `storage.rules` only")
        return ref

    @field_validator("rules")
    @classmethod
    def _each_with_a_pattern(cls, rules: tuple[StorageRef, ...]) -> tuple[StorageRef, ...]:
        for number, ref in enumerate(rules):
            if "match" not in ref.settings.model_fields_set:
                raise ValueError(
                    f"rule {number} (`{ref.name}`) has no `match: PATTERN`, the names of its"
                    " tensors; for all tensors, set `storage.default`"
                )
        return rules

    @field_validator("keep")
    @classmethod
    def _patterns(cls, keep: tuple[str, ...]) -> tuple[str, ...]:
        if not all(keep):
            raise ValueError("an empty pattern matches no tensor")
        return keep


class LimitSettings(Settings):
    """How many bytes the model may have."""

    weights: Bytes | None = Field(None, description="most bytes of the weight files: `1 GB`")
    folder: Bytes | None = Field(
        None, description="most bytes of all files of the artifact together: `40 MB`"
    )


class EngineConfig(Settings):
    """A whole config: one image-text model."""

    engine: Literal[1] = Field(description="version of the config schema")
    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="name of the model and of its folder"
    )
    model: ModelSettings
    data: DataSettings = DataSettings()
    clusters: ClustersSettings | None = Field(
        None, description="clusters of meaning, fitted by the build on the queries of data.train"
    )
    zero_shot: ZeroShotSettings = ZeroShotSettings()
    storage: WeightStorageSettings = WeightStorageSettings()
    limits: LimitSettings = LimitSettings()
    train: TrainSettings | None = Field(None, description="how it is trained: stage by stage")
    seed: int = Field(0, ge=0, le=MAX_SEED, description="of every random choice")

    @field_validator("clusters")
    @classmethod
    def _as_many_as_projections(
        cls, clusters: ClustersSettings | None, info: ValidationInfo
    ) -> ClustersSettings | None:
        model = info.data.get("model")
        if clusters is not None and isinstance(model, ModelSettings):
            count = clusters.clusterer.settings.cluster_count()
            if (misfit := count_misfit(model, count)) is not None:
                raise ValueError(misfit)
        return clusters


def count_misfit(model: ModelSettings, clusters: int | None) -> str | None:
    """What is wrong where the text projection chooses among another number of clusters."""
    use = model.projection.text
    projections = use.settings.cluster_count()
    if clusters is None or projections is None or clusters == projections:
        return None
    return (
        f"{clusters} clusters, and model.projection.text (`{use.name}`) has {projections}"
        " projections to choose from: their `count` must be the same"
    )
