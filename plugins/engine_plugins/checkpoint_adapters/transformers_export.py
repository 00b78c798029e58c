"""Engine's towers in the terms of transformers' ``VisionTextDualEncoderModel``.

That model computes ``projection(tower(x).pooler_output)``; a projection is one matrix, no bias.

==================== ============================== =============================================
Engine               transformers                   exactly the same where
==================== ============================== =============================================
CLIP's vision tower  ``CLIPVisionModel``            always: both pool at the class token
CLIP's text tower    ``CLIPTextModel``              every text ends with one mark, which stands
                                                    nowhere else and whose id is not 2 (there 2
                                                    means: pool at the largest id)
BERT, XLM-RoBERTa    ``BertModel`` and its like     ``pooling: pooler``; with ``first`` a pooler is
                                                    made that passes the first token on
                                                    (``POOLER_FACTOR``)
``identity``,        the matrix, times the tower's  there is no bias
``linear``           own where it has one
==================== ============================== =============================================

Everything else is refused: ``GPT2Model`` has no pooled output at all, and BERT's mean, a bias and
``residual`` have no place in that formula.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engine.contracts import Projection, TextEncoder, VisionTower
from engine.errors import WeightsError
from engine_plugins.checkpoint_adapters import bert_export
from engine_plugins.checkpoint_adapters import transformers_names as names
from engine_plugins.projections.simple import Identity, Linear
from engine_plugins.text.bert import BertFamily, DistilBertText
from engine_plugins.text.clip import ClipText
from engine_plugins.text.gpt import GptText
from engine_plugins.vision.clip import ClipVision

_OLD_END = 2  # CLIPTextModel takes this end mark for that of files from before its own correction
_INSTEAD = "`engine export --to onnx` has no such limits"

Tensors = dict[str, Tensor]
Part = tuple[dict[str, Any], Tensors, Tensor | None]
"""A tower's config, its tensors, and the projection that it keeps itself, [W, E]."""


def describe(
    vision: VisionTower,
    vision_projection: Projection,
    text: TextEncoder,
    text_projection: Projection,
    end_mark: int | None,
) -> tuple[dict[str, Any], Tensors]:
    """See ``engine_plugins.checkpoint_adapters.transformers.Transformers.to_transformers``."""
    seen_config, seen, seen_own = _vision(vision)
    read_config, read, read_own = _text(text, end_mark)
    seen_matrix = matrix(vision_projection, seen_own, "vision")
    read_matrix = matrix(text_projection, read_own, "text")
    if isinstance(text, BertFamily) and text.settings.pooling == "first":
        read |= _passing_pooler(text.width)
        read_matrix = read_matrix / names.POOLER_FACTOR
    tensors = {f"vision_model.{name}": tensor for name, tensor in seen.items()}
    tensors |= {f"text_model.{name}": tensor for name, tensor in read.items()}
    tensors |= {"visual_projection.weight": seen_matrix, "text_projection.weight": read_matrix}
    width = len(seen_matrix)
    for config in (seen_config, read_config):
        if config["model_type"].startswith("clip_"):
            config["projection_dim"] = width
    config = {"vision_config": seen_config, "text_config": read_config, "projection_dim": width}
    return config, {name: tensor.contiguous() for name, tensor in tensors.items()}


def _vision(tower: VisionTower) -> Part:
    if not isinstance(tower, ClipVision):
        raise WeightsError(
            f"the vision tower {type(tower).__name__} has no counterpart in transformers; CLIP's"
            " vision transformer (`openai_clip`, `ruclip`) has",
            hint=_INSTEAD,
        )
    settings = tower.settings
    config = {
        "model_type": "clip_vision_model",
        "image_size": settings.image_size,
        "patch_size": settings.patch_size,
        "hidden_size": settings.width,
        "intermediate_size": settings.mlp_width,
        "num_hidden_layers": settings.layers,
        "num_attention_heads": settings.heads,
        "hidden_act": "quick_gelu" if settings.quick_gelu else "gelu",
        "layer_norm_eps": tower.ln_post.eps,
    }
    own = _own(tower)
    return config, _clip_tensors("vision_model", own), own.pop("proj", None)


def _text(tower: TextEncoder, end_mark: int | None) -> Part:
    if isinstance(tower, ClipText):
        return _clip_text(tower, end_mark)
    if isinstance(tower, BertFamily):
        return _bert(tower)
    if isinstance(tower, GptText):
        raise WeightsError(
            "transformers' GPT2Model gives no pooled output, so VisionTextDualEncoderModel cannot"
            " use it as a text tower",
            hint=_INSTEAD,
        )
    raise WeightsError(
        f"the text encoder {type(tower).__name__} has no counterpart in transformers; CLIP's"
        " (`openai_clip`, `ruclip`) and BERT's (`rubert`) have",
        hint=_INSTEAD,
    )


def _clip_text(tower: ClipText, end_mark: int | None) -> Part:
    if end_mark is None:
        raise WeightsError(
            "transformers' CLIPTextModel pools at the first end mark of a text, and this tokenizer"
            " does not end every text with one mark that stands nowhere else",
            hint=_INSTEAD,
        )
    if end_mark == _OLD_END:
        raise WeightsError(
            "this tokenizer's end mark has the id 2, which to transformers' CLIPTextModel means"
            " that it is to pool at a text's largest id",
            hint=_INSTEAD,
        )
    settings = tower.settings
    config = {
        "model_type": "clip_text_model",
        "vocab_size": settings.vocab_size,
        "max_position_embeddings": settings.max_tokens,
        "hidden_size": settings.width,
        "intermediate_size": settings.mlp_width,
        "num_hidden_layers": settings.layers,
        "num_attention_heads": settings.heads,
        "hidden_act": "quick_gelu" if settings.quick_gelu else "gelu",
        "layer_norm_eps": tower.ln_final.eps,
        "eos_token_id": end_mark,
        "bos_token_id": None,
        "pad_token_id": None,
    }
    own = _own(tower)
    return config, _clip_tensors("text_model", own), own["text_projection"]


def _bert(tower: BertFamily) -> Part:
    pooling = tower.settings.pooling
    if pooling == "mean" or isinstance(tower, DistilBertText):
        what = f"by `pooling: {pooling}`" if pooling == "mean" else "has no pooler"
        raise WeightsError(
            "transformers' VisionTextDualEncoderModel takes BERT's pooler at the first token, and"
            f" this text encoder ({type(tower).__name__}) {what}",
            hint=_INSTEAD,
        )
    return bert_export.config_of(tower), bert_export.tensors_of(tower), None


def _own(tower: VisionTower | TextEncoder) -> Tensors:
    return {name: tensor.detach().float() for name, tensor in tower.state_dict().items()}


def _clip_tensors(tower: str, own: Tensors) -> Tensors:
    kept = {n: t for n, t in own.items() if n not in ("proj", "text_projection")}
    split = names.split_attention(kept)
    return {names.to_transformers(tower, name): tensor for name, tensor in split.items()}


def _passing_pooler(width: int) -> Tensors:
    return {
        "pooler.dense.weight": names.POOLER_FACTOR * torch.eye(width),
        "pooler.dense.bias": torch.zeros(width),
    }


def matrix(projection: Projection, own: Tensor | None, tower: str) -> Tensor:
    """The whole way from the pooled vector into the joint space as one matrix [J, W]."""
    if isinstance(projection, Identity):
        return torch.eye(projection.in_width) if own is None else own.t()
    if not isinstance(projection, Linear) or projection.linear.bias is not None:
        what = "has a bias" if isinstance(projection, Linear) else "is not one matrix"
        raise WeightsError(
            f"the {tower} projection ({type(projection).__name__}) {what}; transformers'"
            " VisionTextDualEncoderModel has one matrix without a bias there",
            hint=_INSTEAD,
        )
    weight = projection.linear.weight.detach()
    if own is None:
        return weight.float()
    return (weight.double() @ own.t().double()).float()  # rounded once
