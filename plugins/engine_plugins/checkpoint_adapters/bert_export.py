"""BERT and its family in the terms of transformers: the config of a model and its tensors."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from engine.contracts import Projection
from engine.contracts.checkpoint_adapter import ModelParts, SentenceModel
from engine.errors import WeightsError
from engine_plugins.projections.simple import Identity, Linear
from engine_plugins.text.bert import BertFamily, BertText, DistilBertText, XlmRobertaText
from engine_plugins.text.bert_names import to_distilbert

_CLASSES: dict[type[BertFamily], tuple[str, str]] = {
    BertText: ("bert", "Bert"),
    XlmRobertaText: ("xlm-roberta", "XLMRoberta"),
    DistilBertText: ("distilbert", "DistilBert"),
}
"""transformers' ``model_type``, and what the names of its classes begin with."""
_POOLING = {"first": "cls", "mean": "mean"}


def config_of(tower: BertFamily) -> dict[str, Any]:
    """The config of the encoder in transformers, with its ``model_type``."""
    settings, kind = tower.settings, _CLASSES[type(tower)][0]
    if kind == "distilbert":
        return {
            "model_type": kind,
            "vocab_size": settings.vocab_size,
            "max_position_embeddings": settings.n_positions,
            "dim": settings.width,
            "hidden_dim": settings.mlp_width,
            "n_layers": settings.layers,
            "n_heads": settings.heads,
            "activation": "gelu",
            "dropout": 0.0,
            "attention_dropout": 0.0,
        }
    return {
        "model_type": kind,
        "vocab_size": settings.vocab_size,
        "max_position_embeddings": settings.n_positions,
        "type_vocab_size": settings.token_types,
        "hidden_size": settings.width,
        "intermediate_size": settings.mlp_width,
        "num_hidden_layers": settings.layers,
        "num_attention_heads": settings.heads,
        "hidden_act": "gelu",
        "layer_norm_eps": tower.embeddings.LayerNorm.eps,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        **({"pad_token_id": settings.position_offset - 1} if settings.position_offset else {}),
    }


def tensors_of(tower: BertFamily) -> dict[str, Tensor]:
    """The encoder's tensors by transformers' names, float32."""
    own = {name: tensor.detach().float() for name, tensor in tower.state_dict().items()}
    if isinstance(tower, DistilBertText):
        own = {to_distilbert(name): tensor for name, tensor in own.items()}
    return own


def sentence_model(parts: ModelParts) -> SentenceModel | None:
    """See ``engine.contracts.checkpoint_adapter.CheckpointAdapter.to_sentence_transformers``."""
    tower = parts.text
    if not isinstance(tower, BertFamily) or type(tower) not in _CLASSES:
        return None
    pooling = tower.settings.pooling
    if pooling not in _POOLING:
        raise WeightsError(
            f"sentence-transformers pools at the first token or by the mean, and this text encoder"
            f" by `pooling: {pooling}`",
            hint="`engine.load(...).as_sentence_transformer()` has no such limits",
        )
    return SentenceModel(
        config_of(tower), tensors_of(tower), _CLASSES[type(tower)][1], _POOLING[pooling],
        *_dense(parts.text_projection),
    )  # fmt: skip


def _dense(projection: Projection) -> tuple[Tensor | None, Tensor | None]:
    """The matrix behind the pooling and its bias."""
    if isinstance(projection, Identity):
        return None, None
    if not isinstance(projection, Linear):
        raise WeightsError(
            "sentence-transformers has one matrix behind the pooling, and"
            f" `model.projection.text` is {type(projection).__name__}",
            hint="`engine.load(...).as_sentence_transformer()` has no such limits",
        )
    bias = projection.linear.bias
    weight = projection.linear.weight.detach().float()
    return weight, None if bias is None else bias.detach().float()
