"""transformers' ``SiglipTokenizer``: canonical texts through SentencePiece itself.

Source: github.com/huggingface/transformers (5.24), ``tokenization_siglip.py``.
"""

from __future__ import annotations

from typing import ClassVar

from engine.contracts.description import Table
from engine.errors import WeightsError
from engine_plugins.tokenizers import hub_tables
from engine_plugins.tokenizers.cleaning import siglip_canonical
from engine_plugins.tokenizers.hub_settings import SiglipTokenizerSettings
from engine_plugins.tokenizers.spm import Marks, SentencePieceBase
from engine_plugins.tokenizers.spm_model import SPACE, SpmModel


class Siglip(SentencePieceBase[SiglipTokenizerSettings]):
    """``ids </s>``, without punctuation; rows are filled up with ``</s>``."""

    name = "siglip"
    described: ClassVar[tuple[Table, ...]] = hub_tables.SIGLIP

    file_names = ("spiece.model", "sentencepiece.model")

    @classmethod
    def before(cls, settings: SiglipTokenizerSettings, text: str) -> str:
        """A text as it goes into the SentencePiece model."""
        # The class itself puts U+2581 before a text and takes it for a space.
        return siglip_canonical(text.replace(SPACE, " "), lower=settings.lower)

    @classmethod
    def around(cls, settings: SiglipTokenizerSettings, model: SpmModel, where: str) -> Marks:
        """The tokens that stand before and behind every text."""
        if model.end < 0:
            raise WeightsError(
                f"{where} has no end mark `</s>`", hint="expected SigLIP's own model"
            )
        return (), (model.end,), model.end if settings.pad == "</s>" else max(model.pad, 0)
