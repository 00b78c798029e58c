"""Small models of open_clip and transformers with SigLIP's and MobileCLIP's parts, offline."""

from __future__ import annotations

from typing import Any

import open_clip
import timm
import torch
from timm.models.vision_transformer import VisionTransformer, _create_vision_transformer
from torch import nn
from transformers import SiglipConfig, SiglipModel

ARCH = "vit_engine_siglip_32"
"""A small vision transformer with SigLIP's attention pooling, registered here."""

_WIDTH, _HEADS, _DEPTH, _PATCH, SIZE = 48, 3, 3, 8, 32


def _make(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    numbers = {
        "patch_size": _PATCH, "embed_dim": _WIDTH, "depth": _DEPTH, "num_heads": _HEADS,
        "class_token": False, "global_pool": "map", "img_size": SIZE,
    }  # fmt: skip
    model: VisionTransformer = _create_vision_transformer(
        "vit_base_patch16_siglip_224", pretrained=pretrained, **{**numbers, **kwargs}
    )
    return model


def register() -> None:
    """Let timm know :data:`ARCH`."""
    if not timm.is_model(ARCH):
        _make.__name__ = ARCH
        _make.__module__ = "timm.models.vision_transformer"
        timm.models.register_model(_make)


TEXT = {
    "vocab_size": 90, "max_tokens": 12, "width": 48, "layers": 3, "heads": 4, "embed_width": 48,
}  # fmt: skip
OPEN_CLIP_TEXT = {
    "context_length": 12, "vocab_size": 90, "width": 48, "heads": 4, "layers": 3,
    "no_causal_mask": True, "proj_bias": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6},
}  # fmt: skip


def open_clip_siglip(*, tanh: bool) -> nn.Module:
    """open_clip's SigLIP, or with the activation of its SigLIP 2."""
    register()
    text = {**OPEN_CLIP_TEXT, **({"act_kwargs": {"approximate": "tanh"}} if tanh else {})}
    vision = {"image_size": SIZE, "timm_model_name": ARCH, "timm_model_pretrained": False,
              "timm_pool": "map", "timm_proj": "none"}  # fmt: skip
    model: nn.Module = open_clip.CustomTextCLIP(
        48, vision, text, init_logit_bias=-10.0, init_logit_scale=2.3
    )
    return model


def mobile_clip() -> nn.Module:
    """open_clip's MobileCLIP in small: a timm tower with its classifier, text without a mask."""
    text = {"context_length": 12, "vocab_size": 90, "width": 48, "heads": 4, "layers": 3,
            "no_causal_mask": True}  # fmt: skip
    vision = {"image_size": 64, "timm_model_name": "fastvit_t8", "timm_model_pretrained": False,
              "timm_pool": "avg", "timm_proj": None}  # fmt: skip
    model: nn.Module = open_clip.CustomTextCLIP(24, vision, text)
    return model


def transformers_siglip(**changed: Any) -> SiglipModel:
    """transformers' SigLIP of the same sizes.

    Args:
        changed: other numbers of both of its configs.
    """
    common = {"num_hidden_layers": 3, "hidden_size": 48, "intermediate_size": 192, **changed}
    config = SiglipConfig(
        text_config={**common, "vocab_size": 90, "max_position_embeddings": 12,
                     "num_attention_heads": 4, "projection_size": 48},
        vision_config={**common, "num_attention_heads": _HEADS, "image_size": SIZE,
                       "patch_size": _PATCH},
    )  # fmt: skip
    torch.manual_seed(0)
    model: SiglipModel = SiglipModel(config).eval()
    return model
