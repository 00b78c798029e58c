"""SigLIP's towers in the terms of transformers' ``SiglipModel``.

The vision tower is a transformer of timm with attention pooling, the text tower one that reads
padding and pools at the last place; neither has a projection of its own behind it. Anything else is
refused by the setting that differs.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from engine.contracts.checkpoint_adapter import ModelParts, TransformersModel
from engine.errors import WeightsError
from engine_plugins.checkpoint_adapters.siglip_names import to_siglip
from engine_plugins.projections.simple import Identity
from engine_plugins.text.padded import PaddedText
from engine_plugins.vision.timm import TimmVision

_INSTEAD = "`engine export --to open_clip` or `--to onnx` may have a form of it"
_ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "quick_gelu": "quick_gelu"}


def describe(parts: ModelParts) -> TransformersModel | None:
    """See ``engine.contracts.checkpoint_adapter.CheckpointAdapter.to_transformers``."""
    text, vision = parts.text, parts.vision
    if not isinstance(text, PaddedText):
        return None
    if not isinstance(vision, TimmVision):
        raise _refused(f"its vision tower is SigLIP's, and this model's is {type(vision).__name__}")
    for tower, projection in (
        ("vision", parts.vision_projection), ("text", parts.text_projection)
    ):  # fmt: skip
        if not isinstance(projection, Identity):
            raise _refused(
                f"it has no projection behind its towers, and `model.projection.{tower}` is"
                f" {type(projection).__name__}"
            )
    config = {"text_config": _text(text), "vision_config": _vision(vision)}
    own = {f"vision.{name}": tensor for name, tensor in vision.state_dict().items()}
    own |= {f"text.{name}": tensor for name, tensor in text.state_dict().items()}
    floats = {name: tensor.detach().float() for name, tensor in own.items()}
    return TransformersModel(
        config, _plain(to_siglip(floats)), "Siglip", "SiglipImageProcessor", text.settings.pad_id,
        bias=True,
    )  # fmt: skip


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _refused(why: str) -> WeightsError:
    return WeightsError(f"transformers' SiglipModel: {why}", hint=_INSTEAD)


def _text(tower: PaddedText) -> dict[str, Any]:
    settings = tower.settings
    if settings.pooling != "last":
        raise _refused(
            "it pools at the last place of every text, and this text encoder by `pooling:"
            f" {settings.pooling}`"
        )
    if settings.project != "linear":
        raise _refused(
            "its head is a matrix and a bias, and this text encoder has `project:"
            f" {settings.project}`"
        )
    return {
        "vocab_size": settings.vocab_size,
        "max_position_embeddings": settings.max_tokens,
        "hidden_size": settings.width,
        "intermediate_size": settings.mlp_width,
        "num_hidden_layers": settings.layers,
        "num_attention_heads": settings.heads,
        "projection_size": settings.embed_width,
        "hidden_act": _ACTIVATIONS[settings.activation],
        "layer_norm_eps": settings.norm_eps,
        "pad_token_id": settings.pad_id,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def _vision(tower: TimmVision) -> dict[str, Any]:
    from timm.models.vision_transformer import VisionTransformer

    model: Any = tower.model
    arch = tower.settings.arch
    if not isinstance(model, VisionTransformer) or model.attn_pool is None:
        raise _refused(
            f"its vision tower is a transformer with attention pooling, and `arch: {arch}` is not"
        )
    if model.cls_token is not None or model.pos_embed is None or not isinstance(
        model.norm_pre, nn.Identity
    ):  # fmt: skip
        raise _refused(
            f"its vision tower has no class token and no norm before its blocks, as `arch: {arch}`"
        )
    block = model.blocks[0]
    return {
        "image_size": tower.preprocess.size,
        "patch_size": model.patch_embed.patch_size[0],
        "hidden_size": model.embed_dim,
        "intermediate_size": block.mlp.fc1.out_features,
        "num_hidden_layers": len(model.blocks),
        "num_attention_heads": block.attn.num_heads,
        "hidden_act": _activation(block.mlp.act, arch),
        "layer_norm_eps": block.norm1.eps,
    }


def _activation(module: nn.Module, arch: str) -> str:
    tanh = getattr(module, "approximate", "none") == "tanh" or "Tanh" in type(module).__name__
    if tanh:
        return "gelu_pytorch_tanh"
    if isinstance(module, nn.GELU) or type(module).__name__ == "GELU":
        return "gelu"
    if "QuickGELU" in type(module).__name__:
        return "quick_gelu"
    raise _refused(f"it has no activation {type(module).__name__}, which `arch: {arch}` has")
