"""Text encoders alone: of sentence-transformers, M-CLIP and model2vec.

=====================  =====================================================================
sentence-transformers  modules are numbered: ``0.auto_model.*`` is the transformer,
                       ``2.linear.*`` a dense layer behind the pooling, which has no weights
M-CLIP                 ``transformer.*``, and ``LinearTransformation.*`` behind the mean
model2vec              ``embeddings``, perhaps ``weights`` and ``mapping``
=====================  =====================================================================

Sources: github.com/huggingface/sentence-transformers (version 6),
github.com/FreddeFrallan/Multilingual-CLIP, github.com/MinishLab/model2vec.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from engine.contracts import CheckpointAdapter
from engine.contracts.checkpoint_adapter import ModelParts, SentenceModel
from engine_plugins.checkpoint_adapters import bert_export

_ENCODER = "0.auto_model."
_M_CLIP = "LinearTransformation."
_PREFIXES = {_ENCODER: "text.", _M_CLIP: "text_projection.linear.", "transformer.": "text."}
_STATIC = {"embeddings", "weights", "mapping"}
_NO_WEIGHTS = ("embeddings.position_ids", "embeddings.token_type_ids")
_DENSE = re.compile(r"\d+\.linear\.(weight|bias)")


class SentenceEncoder(CheckpointAdapter):
    """See the module."""

    def matches(self, keys: Collection[str]) -> bool:
        """See the contract."""
        return (
            any(key.startswith(_ENCODER) for key in keys)
            or f"{_M_CLIP}weight" in keys
            or ("embeddings" in keys and set(keys) <= _STATIC)
        )

    def rename(self, key: str) -> str | None:
        """See the contract."""
        for prefix, other in _PREFIXES.items():
            if key.startswith(prefix):
                own = f"{other}{key[len(prefix) :]}"
                return None if own.endswith(_NO_WEIGHTS) else own
        if key in _STATIC:
            return f"text.{key}"
        dense = _DENSE.fullmatch(key)
        return key if dense is None else f"text_projection.linear.{dense[1]}"

    def to_sentence_transformers(self, parts: ModelParts) -> SentenceModel | None:
        """See the contract."""
        return bert_export.sentence_model(parts)
