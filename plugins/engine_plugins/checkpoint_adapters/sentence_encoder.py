"""Sentence encoders of the library sentence-transformers: the text side of a model alone.

Its modules are numbered: ``0.auto_model.*`` is the transformer, ``2.linear.*`` a dense layer behind
the pooling, which has no weights.

Source: github.com/huggingface/sentence-transformers (version 6).
"""

from __future__ import annotations

import re
from collections.abc import Collection

from engine.contracts import CheckpointAdapter
from engine.contracts.checkpoint_adapter import ModelParts, SentenceModel
from engine_plugins.checkpoint_adapters import bert_export

_ENCODER = "0.auto_model."
_DENSE = re.compile(r"\d+\.linear\.(weight|bias)")


class SentenceEncoder(CheckpointAdapter):
    """See the module."""

    def matches(self, keys: Collection[str]) -> bool:
        """See the contract."""
        return any(key.startswith(_ENCODER) for key in keys)

    def rename(self, key: str) -> str | None:
        """See the contract."""
        if key.startswith(_ENCODER):
            return f"text.{key[len(_ENCODER) :]}"
        dense = _DENSE.fullmatch(key)
        return key if dense is None else f"text_projection.linear.{dense[1]}"

    def to_sentence_transformers(self, parts: ModelParts) -> SentenceModel | None:
        """See the contract."""
        return bert_export.sentence_model(parts)
