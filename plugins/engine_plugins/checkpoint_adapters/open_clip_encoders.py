"""Text encoders of transformers in open_clip's terms (its class ``HFTextEncoder``).

=============== ==================== ============================================================
encoder         pooler               projection (``hf_proj_type``)
=============== ==================== ============================================================
XLM-R, BERT     mean, first token    one matrix without a bias; two with GELU and half the sum of
                                     the widths between them; none where the widths are equal
NLLB            the same             the same
=============== ==================== ============================================================

open_clip makes the encoder from a config of transformers, which it reads from ``hf_model_name``: a
folder or a name on the hub. ``text_cfg`` carries that config here as ``hf_config``; who writes the
folder puts it into ``config.json`` there.

Source: github.com/mlfoundations/open_clip, ``hf_model.py``.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from engine.contracts import Projection, TextEncoder
from engine.contracts.checkpoint_adapter import ModelParts
from engine.errors import WeightsError
from engine_plugins.checkpoint_adapters import bert_export
from engine_plugins.projections.simple import Identity, Linear, TwoLayers
from engine_plugins.text.bert import BertFamily, DistilBertText
from engine_plugins.text.nllb import NllbText

_INSTEAD = "`engine export --to onnx` has no such limits"
_POOLERS = {"mean": "mean_pooler", "first": "cls_last_hidden_state_pooler"}


def has_form(tower: TextEncoder) -> bool:
    """Whether open_clip makes this encoder from a config of transformers."""
    if isinstance(tower, DistilBertText):  # open_clip hands it an argument that it does not take
        return False
    return isinstance(tower, (BertFamily, NllbText))


def describe(parts: ModelParts) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """``text_cfg`` with ``hf_config``, and the tensors of ``HFTextEncoder``, float32.

    Raises:
        WeightsError: the pooling or the projection has no form there.
    """
    tower = parts.text
    assert isinstance(tower, (BertFamily, NllbText))
    pooling = tower.settings.pooling
    if pooling not in _POOLERS:
        raise WeightsError(
            f"open_clip pools this encoder at the first token or by the mean, and"
            f" `model.text.pooling` is `{pooling}`",
            hint=_INSTEAD,
        )
    kind, head = _head(parts.text_projection, tower.width)
    nllb = isinstance(tower, NllbText)
    text_cfg = {
        "context_length": tower.settings.max_tokens,
        "hf_model_pretrained": False,
        "hf_pooler_type": _POOLERS[pooling],
        "hf_proj_type": kind,
        "hf_config": nllb_config(tower) if isinstance(tower, NllbText)
        else bert_export.config_of(tower),
    }  # fmt: skip
    own = _nllb_tensors(tower) if nllb else bert_export.tensors_of(tower)  # type: ignore[arg-type]
    tensors = {f"transformer.{name}": tensor for name, tensor in own.items()}
    return text_cfg, tensors | {f"proj.{name}": tensor for name, tensor in head.items()}


def _head(projection: Projection, width: int) -> tuple[str | None, dict[str, Tensor]]:
    """open_clip's ``hf_proj_type``, and the tensors below ``proj.``."""
    own = {name: tensor.detach().float() for name, tensor in projection.state_dict().items()}
    if isinstance(projection, Identity):
        return None, {}
    if isinstance(projection, Linear) and projection.linear.bias is None:
        return "linear", {"weight": own["linear.weight"]}
    if isinstance(projection, TwoLayers):
        plain = projection.fc1.bias is None and projection.fc2.bias is None
        if plain and projection.fc1.out_features == (width + projection.fc2.out_features) // 2:
            return "mlp", {"0.weight": own["fc1.weight"], "2.weight": own["fc2.weight"]}
    raise WeightsError(
        "open_clip has one matrix without a bias behind a text encoder of transformers, or two with"
        " GELU between them and half the sum of both widths;"
        f" `model.projection.text` is {type(projection).__name__} of another form",
        hint=_INSTEAD,
    )


def nllb_config(tower: NllbText) -> dict[str, Any]:
    """The config of ``M2M100Model`` whose encoder this is.

    transformers makes a decoder with it, of which open_clip keeps nothing: it has one small layer.
    """
    settings = tower.settings
    return {
        "model_type": "m2m_100",
        "vocab_size": settings.vocab_size,
        "max_position_embeddings": settings.max_tokens,
        "d_model": settings.width,
        "encoder_layers": settings.layers,
        "encoder_attention_heads": settings.heads,
        "encoder_ffn_dim": settings.mlp_width,
        "decoder_layers": 1,
        "decoder_attention_heads": 1,
        "decoder_ffn_dim": 1,
        "activation_function": "relu",
        "scale_embedding": True,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "encoder_layerdrop": 0.0,
        "pad_token_id": 1,
    }


def _nllb_tensors(tower: NllbText) -> dict[str, Tensor]:
    return {name: tensor.detach().float() for name, tensor in tower.state_dict().items()}
