"""Checkpoint adapters: checkpoints of other programs, read by the names of their tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from engine.contracts.description import Description
from engine.contracts.projection import Projection
from engine.contracts.settings import Settings
from engine.contracts.tower import TextEncoder, VisionTower


@dataclass(frozen=True)
class ModelParts:
    """The parts of a model that is to be written for another program.

    Attributes:
        vision: the vision tower.
        vision_projection: its projection.
        text: the text encoder.
        text_projection: its projection.
        end_mark: the id that ends every text and stands nowhere else in one; ``None`` where there
            is none.
    """

    vision: VisionTower
    vision_projection: Projection
    text: TextEncoder
    text_projection: Projection
    end_mark: int | None


@dataclass(frozen=True)
class TransformersModel:
    """A model in the terms of transformers.

    Attributes:
        config: arguments of the class of its config (``vision_config``, ``text_config``, ...).
        tensors: by its names, float32, without ``logit_scale`` and ``logit_bias``.
        name: what its classes begin with: ``<name>Model``, ``<name>Config``, ``<name>Processor``.
        images: the class that prepares its pictures.
        fill: the id with which every text is filled up to the longest, where the model reads
            padding as a part of the text; ``None``: it takes a mask.
        bias: whether it has a ``logit_bias``.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    name: str = "VisionTextDualEncoder"
    images: str = "CLIPImageProcessor"
    fill: int | None = None
    bias: bool = False


@dataclass(frozen=True)
class SentenceModel:
    """The text encoder of a model in the terms of sentence-transformers.

    Attributes:
        config: arguments of the class of the encoder's config.
        tensors: the encoder's, float32.
        name: what the encoder's classes in transformers begin with: ``<name>Model``.
        pooling: ``"cls"`` or ``"mean"``.
        weight: of the dense layer behind the pooling, [J, W]; ``None``: there is none.
        bias: of that layer, [J], or ``None``.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    name: str
    pooling: str
    weight: Tensor | None = None
    bias: Tensor | None = None


class CheckpointAdapter(ABC):
    """Renames the tensors of a foreign checkpoint to those of Engine's model.

    Engine's names: ``vision.<tower's own>``, ``text.<tower's own>``, ``vision_projection.<own>``,
    ``text_projection.<own>`` and ``logit_scale``.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @abstractmethod
    def matches(self, keys: Collection[str]) -> bool:
        """Whether a checkpoint with these names is of this layout. No two layouts match one."""

    @abstractmethod
    def rename(self, key: str) -> str | None:
        """Engine's name for a tensor, or ``None`` for what is not a weight (a stored mask).

        A name that the model does not know is reported to the user, so pass unknown ones through.
        """

    def describe(self, tensors: Mapping[str, Tensor]) -> dict[str, Description]:
        """What the tensors say themselves of each tower's settings (default: nothing).

        Args:
            tensors: the checkpoint under its own names.

        Returns:
            Descriptions by ``"vision"`` and ``"text"``.
        """
        return {}

    def finish(self, tensors: Mapping[str, Tensor], wanted: Collection[str]) -> dict[str, Tensor]:
        """Join, split or transpose what renaming could not (default: nothing).

        Engine calls it after :meth:`rename`. The mapping and its tensors are not changed.

        Args:
            tensors: by the names that :meth:`rename` gave them, floating ones float32.
            wanted: the names that the config's model has.

        Returns:
            The tensors by Engine's names. What cannot be placed keeps its name, and is reported.

        Raises:
            WeightsError: a part of the checkpoint has no counterpart in Engine.
        """
        return dict(tensors)

    def to_transformers(self, parts: ModelParts) -> TransformersModel | None:
        """The model in transformers' terms, for ``engine export --to transformers``.

        Engine asks every adapter in turn, and afterwards compares what transformers computes from
        the answer with the model.

        Returns:
            By default ``None``: this adapter does not write for transformers, or not these towers.

        Raises:
            WeightsError: transformers has no form that computes the same; says of which part.
        """
        return None

    def to_sentence_transformers(self, parts: ModelParts) -> SentenceModel | None:
        """The text encoder as a sentence encoder, for ``engine export --to sentence_transformers``.

        Engine asks where :meth:`to_transformers` of no adapter has a form of both towers.

        Returns:
            By default ``None``: this adapter does not write sentence encoders.

        Raises:
            WeightsError: sentence-transformers has no form that computes the same.
        """
        return None

    def to_open_clip(self, parts: ModelParts) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """The model in open_clip's terms, for ``engine export --to open_clip``.

        Engine asks every adapter in turn, and afterwards compares what open_clip computes from the
        answer with the model.

        Returns:
            A ``model_cfg`` of open_clip without its tokenizer and logits, and the tensors without
            ``logit_scale`` and ``logit_bias``, float32. Where open_clip makes the text tower from
            a config of transformers, ``text_cfg`` holds that config as ``hf_config``, which is
            written as ``config.json`` and named by ``hf_model_name``. By default ``None``: this
            adapter does not write for open_clip.

        Raises:
            WeightsError: open_clip has no form that computes the same; says of which part.
        """
        return None
