"""Compressors: steps that make a model smaller. Nothing here imports torch.

A compressor works in two parts. :meth:`Compressor.plan` says, from settings and the tokenizer
alone, what changes in the config; so the bytes of the result are known without weights and without
PyTorch. :meth:`Compressor.apply` then changes the tensors. How a tensor is written to the file is
not a compressor's work but a storage's (``engine.contracts.storage``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from engine.contracts.settings import Settings
from engine.contracts.tokenizer import Tokenizer
from engine.contracts.tower_settings import TextEncoderSettings, VisionTowerSettings

if TYPE_CHECKING:
    from torch import Tensor


class CompressorSettings(Settings):
    """Base of every compressor's settings."""


@dataclass(frozen=True)
class ModelFacts:
    """What a compressor sees of a model before its weights.

    Attributes:
        text: settings of the text encoder.
        vision: settings of the vision tower.
        tokenizer: of the text encoder; ``None`` where its vocabulary cannot be reached.
        texts: texts as the model will be asked; empty where the user gave none.
        languages: codes of the languages that the user named (``ru``), or names of scripts
            (``Cyrillic``); empty for none.
    """

    text: TextEncoderSettings
    vision: VisionTowerSettings
    tokenizer: Tokenizer | None = None
    texts: Sequence[str] = ()
    languages: Sequence[str] = ()


@dataclass(frozen=True)
class CompressionStep:
    """What a compressor will do to one model.

    Attributes:
        settings: what changes in the config, dotted keys below ``model`` to JSON values:
            ``{"text.vocab_size": 41200}``.
        summary: a sentence for the user: "41,200 of 119,547 tokens stay".
        tokenizer: the new tokenizer; ``None``: it stays.
        details: what the artifact's manifest keeps beside the summary (JSON types).
        examples: texts for which nothing may change, by which Engine checks a lossless step.
        outside: a sentence for the user on what changes for other input: "texts with other letters
            get other tokens"; empty: nothing, or nothing more than the summary says.
        work: what ``apply`` needs to know; no one else reads it.
    """

    settings: Mapping[str, Any]
    summary: str
    tokenizer: Tokenizer | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    examples: Sequence[str] = ()
    outside: str = ""
    work: Any = None


class Compressor(ABC):
    """A step that makes a model smaller.

    Args:
        settings: of the plugin's settings class.
    """

    needs_training: ClassVar[bool] = False
    """Whether the result is of use only after training: ``engine fit`` then leaves it out unless
    ``--train`` is given."""

    same_function: ClassVar[bool] = False
    """Whether the result computes the same, up to the rounding of float32, for every input:
    ``engine fit`` then takes it where the steps that change no bit are not enough."""

    def __init__(self, settings: CompressorSettings) -> None:
        self.settings = settings

    @property
    def lossless(self) -> str | None:
        """For which input the result's answers are those of the model, bit for bit.

        A phrase that continues "answers stay the same for ...", such as "every text of at most 64
        tokens"; ``None``: any answer may change.
        """
        return None

    @classmethod
    def candidates(cls, model: ModelFacts) -> Sequence[Mapping[str, Any]]:
        """Settings with which ``engine fit`` tries this compressor on a model; none by default."""
        return ()

    @abstractmethod
    def plan(self, model: ModelFacts) -> CompressionStep | None:
        """What it would do; ``None``: there is nothing to do for it on this model.

        It reads no weights and imports no torch. The same model gives the same step.

        Args:
            model: settings and tokenizer.

        Raises:
            ConfigError: its settings do not fit the model: a language that the tokenizer cannot
                spell, a layer that there is not.
        """

    @abstractmethod
    def apply(
        self,
        step: CompressionStep,
        tensors: Mapping[str, Tensor],
        shapes: Mapping[str, tuple[int, ...]],
    ) -> dict[str, Tensor]:
        """The tensors of the smaller model. What it was given is not changed in place.

        Args:
            step: what :meth:`plan` gave for this model.
            tensors: the model's state dict (``text.*``, ``vision.*``, ...).
            shapes: the shapes of the smaller model's state dict, which the result must have.
        """
