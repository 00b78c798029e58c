"""Settings of the built-in teachers. Nothing here imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from engine.contracts import SourceName, TeacherSettings
from engine.contracts.values import Device
from engine_plugins.embedders.settings import SentenceTransformerSettings


class SentenceTeacherSettings(TeacherSettings, SentenceTransformerSettings):
    """A sentence encoder of the library sentence-transformers; it reads texts."""

    batch_size: int = Field(128, ge=1, le=4096, description="texts that run through it at once")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="of the matrix products; bfloat16 takes about half the time where the processor"
        " or the GPU computes in it, and changes the third digit of a vector",
    )


class BatchedTeacherSettings(TeacherSettings):
    """Base of the teachers that read images, too."""

    batch_size: int = Field(64, ge=1, le=4096, description="inputs that run through it at once")
    device: Device = Field(
        "auto", description="where it computes; auto: a GPU where there is one, else the CPU"
    )


class ArtifactTeacherSettings(BatchedTeacherSettings):
    """A model that Engine built or trained."""

    path: Path = Field(description="the artifact's folder")


class OpenClipTeacherSettings(BatchedTeacherSettings):
    """A model of open_clip: CLIP, SigLIP 2, MobileCLIP 2 and others."""

    arch: str = Field(min_length=1, description="open_clip's name of the model: `ViT-B-32`")
    weights: SourceName = Field(
        description="open_clip:<arch>/<tag>, hf:<repository>, file:<path> or package:<dist>/<path>"
    )


class TransformersTeacherSettings(BatchedTeacherSettings):
    """A model of transformers that has text and image features: CLIP, SigLIP 2, Chinese CLIP."""

    model: SourceName = Field(
        description="file:<folder>, package:<distribution>/<folder> or hf:<repository> with"
        " config, tokenizer, preprocessor and safetensors"
    )
