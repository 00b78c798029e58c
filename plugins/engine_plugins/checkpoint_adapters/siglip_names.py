"""Names of tensors in transformers' SigLIP and in open_clip's custom text towers, and Engine's.

Engine's SigLIP is open_clip's: the vision tower is timm's, the text transformer is under the names
of OpenAI CLIP. transformers keeps queries, keys and values apart, and its pooling head is PyTorch's
``MultiheadAttention``.

Sources: github.com/huggingface/transformers, ``modeling_siglip.py`` (5.24);
github.com/huggingface/pytorch-image-models, ``attention_pool.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from engine_plugins.checkpoint_adapters.transformers_names import join_attention

_TEXT = {
    "embeddings.token_embedding.": "token_embedding.",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.": "ln_final.",
    "head.": "text_projection.",
}
_TEXT_BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.q_proj": "attn.q_proj",
    "self_attn.k_proj": "attn.k_proj",
    "self_attn.v_proj": "attn.v_proj",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_VISION = {
    "embeddings.patch_embedding.": "patch_embed.proj.",
    "embeddings.position_embedding.weight": "pos_embed",
    "post_layernorm.": "norm.",
    "head.probe": "attn_pool.latent",
    "head.attention.out_proj.": "attn_pool.proj.",
    "head.attention.in_proj_": "attn_pool.in_proj_",
    "head.layernorm.": "attn_pool.norm.",
    "head.mlp.": "attn_pool.mlp.",
}
_VISION_BLOCK = {
    "layer_norm1": "norm1",
    "layer_norm2": "norm2",
    "self_attn.q_proj": "attn.q_proj",
    "self_attn.k_proj": "attn.k_proj",
    "self_attn.v_proj": "attn.v_proj",
    "self_attn.out_proj": "attn.proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_BLOCK = re.compile(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
_NO_WEIGHTS = ("embeddings.position_ids",)
_NOT_TEXT = ("visual.", "logit_scale", "logit_bias", "attn_mask")


def text_name(name: str) -> str:
    """transformers' name below ``text_model.`` -> OpenAI CLIP's; others stay as they are."""
    return _translated(name, _TEXT, _TEXT_BLOCK, "transformer.resblocks")


def vision_name(name: str) -> str:
    """transformers' name below ``vision_model.`` -> timm's; others stay as they are."""
    return _translated(name, _VISION, _VISION_BLOCK, "blocks")


def _translated(name: str, outer: Mapping[str, str], inner: Mapping[str, str], blocks: str) -> str:
    block = _BLOCK.fullmatch(name)
    if block and block[2] in inner:
        return f"{blocks}.{block[1]}.{inner[block[2]]}.{block[3]}"
    for old, new in outer.items():
        if name.startswith(old):
            return new + name[len(old) :]
    return name


def is_siglip(weights: Mapping[str, object]) -> bool:
    """Whether these are names of transformers' ``SiglipModel``, or of one of its towers."""
    return any(
        name.endswith(("text_model.head.weight", "vision_model.embeddings.patch_embedding.bias"))
        for name in weights
    )


def text_part(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The text tower of a whole checkpoint under OpenAI's names.

    Args:
        weights: tensors under the names of transformers' ``SiglipModel``, of open_clip's
            ``CustomTextCLIP`` (``text.*``), of open_clip's ``CLIP``, or of the tower alone.
    """
    if is_siglip(weights) or any(name.startswith("text_model.") for name in weights):
        start = len("text_model.")
        inner = {n[start:]: t for n, t in weights.items() if n.startswith("text_model.")}
        named = {text_name(n): t for n, t in inner.items() if n not in _NO_WEIGHTS}
        return join_attention(named)
    named = dict(weights)
    if any(name.startswith("text.") for name in named):
        named = {n[len("text.") :]: t for n, t in named.items() if n.startswith("text.")}
    return join_attention({n: t for n, t in named.items() if not n.startswith(_NOT_TEXT)})


def vision_part(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The vision tower of transformers' ``SiglipModel`` under timm's names.

    Args:
        weights: tensors by transformers' names; what is not below ``vision_model.`` is left out.
    """
    start = len("vision_model.")
    inner = {n[start:]: t for n, t in weights.items() if n.startswith("vision_model.")}
    named = {vision_name(n): t for n, t in inner.items() if n not in _NO_WEIGHTS}
    return timm_tensors(named)


def timm_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Join queries, keys and values, split the pooling head's, give the positions a batch."""
    done: dict[str, Tensor] = {}
    for name, tensor in join_attention(tensors).items():
        if ".attn.in_proj_" in name or name.startswith("attn.in_proj_"):
            done[name.replace("attn.in_proj_", "attn.qkv.")] = tensor
        elif name.startswith("attn_pool.in_proj_") and tensor.dim() and len(tensor) % 3 == 0:
            kind, width = name.rpartition("_")[2], len(tensor) // 3
            done[f"attn_pool.q.{kind}"] = tensor[:width].clone()
            done[f"attn_pool.kv.{kind}"] = tensor[width:].clone()
        elif name == "pos_embed" and tensor.dim() == 2:
            done[name] = tensor[None]
        else:
            done[name] = tensor
    return done


def to_siglip(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The other way, for both towers: Engine's names of a whole model -> ``SiglipModel``'s.

    Args:
        tensors: ``vision.model.*`` by timm's names, ``text.*`` by OpenAI's.
    """
    done: dict[str, Tensor] = {}
    text_outer = {new: old for old, new in _TEXT.items()}
    text_inner = {new: old for old, new in _TEXT_BLOCK.items()}
    vision_outer = {new: old for old, new in _VISION.items()}
    vision_inner = {new: old for old, new in _VISION_BLOCK.items()}
    for name, tensor in _apart(tensors).items():
        if name.startswith("text."):
            own = _back(name[len("text.") :], text_outer, text_inner, "transformer.resblocks")
            done[f"text_model.{own}"] = tensor
        elif name.startswith("vision.model."):
            own = _back(name[len("vision.model.") :], vision_outer, vision_inner, "blocks")
            places = own.endswith("position_embedding.weight")
            done[f"vision_model.{own}"] = tensor[0] if places else tensor
        else:
            done[name] = tensor
    return {name: tensor.contiguous() for name, tensor in done.items()}


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values as transformers has them."""
    done: dict[str, Tensor] = {}
    pool = "vision.model.attn_pool"
    for name, tensor in tensors.items():
        packed = re.fullmatch(r"(.*\.attn)\.(?:in_proj_|qkv\.)(weight|bias)", name)
        if packed:
            for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                done[f"{packed[1]}.{part}_proj.{packed[2]}"] = piece
        elif name.startswith(f"{pool}.q."):
            kind = name.rpartition(".")[2]
            done[f"{pool}.in_proj_{kind}"] = torch.cat([tensor, tensors[f"{pool}.kv.{kind}"]])
        elif not name.startswith(f"{pool}.kv."):
            done[name] = tensor
    return done


def _back(name: str, outer: Mapping[str, str], inner: Mapping[str, str], blocks: str) -> str:
    block = re.fullmatch(rf"{re.escape(blocks)}\.(\d+)\.(.+)\.(weight|bias)", name)
    if block and block[2] in inner:
        return f"encoder.layers.{block[1]}.{inner[block[2]]}.{block[3]}"
    for old, new in outer.items():
        if name.startswith(old):
            return new + name[len(old) :]
    return name
