"""Plans of models of timm that CLIPs are made of: SigLIP's transformers, MobileCLIP's FastViT.

Their tensors follow from a few numbers, so `engine size` needs neither timm nor PyTorch. A test
holds each to timm's own module. Nothing here imports torch.
Source: github.com/huggingface/pytorch-image-models, ``vision_transformer.py``, ``fastvit.py``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.contracts.plan import Plan, TowerPlan
from engine_plugins import plans
from engine_plugins.vision.efficientnet_plan import efficientnet_plan
from engine_plugins.vision.resnet_plan import resnet_plan

_SIGLIP = re.compile(
    r"vit_(?P<size>base|large|so400m|giantopt)_patch(?P<patch>\d+)_siglip_(?P<side>\d+)"
)


@dataclass(frozen=True)
class _Vit:
    """A vision transformer: width, blocks, hidden width of an MLP."""

    width: int
    depth: int
    mlp_ratio: float


_VITS = {
    "base": _Vit(768, 12, 4),
    "large": _Vit(1024, 24, 4),
    "so400m": _Vit(1152, 27, 3.7362),
    "giantopt": _Vit(1536, 40, 4),
}


@dataclass(frozen=True)
class _FastVit:
    """A FastViT: blocks and width of its four stages."""

    layers: tuple[int, int, int, int]
    width: int


_FAST_VITS = {
    "fastvit_mci0": _FastVit((2, 6, 10, 2), 64),
    "fastvit_mci1": _FastVit((4, 12, 20, 4), 64),
    "fastvit_mci2": _FastVit((4, 12, 24, 4), 80),
}
_MLP_RATIO, _KERNEL, _SMALL_KERNEL = 3, 7, 3


def timm_plan(arch: str, image_size: int | None) -> TowerPlan | None:
    """The tensors of ``engine_plugins.vision.timm.TimmVision``; ``None`` where they are not known.

    Args:
        arch: timm's name of the model, without the tag of its weights.
        image_size: side of the picture; ``None`` for the model's own.
    """
    if (match := _SIGLIP.fullmatch(arch)) is not None:
        side = int(match["side"]) if image_size is None else image_size
        return _siglip(_VITS[match["size"]], int(match["patch"]), side)
    if arch in _FAST_VITS:
        return _fast_vit(_FAST_VITS[arch])
    return resnet_plan(arch) or efficientnet_plan(arch)


def _siglip(vit: _Vit, patch: int, side: int) -> TowerPlan:
    """A transformer whose features one learned query collects from all patches."""
    width, hidden = vit.width, int(vit.width * vit.mlp_ratio)
    tensors: Plan = {
        **plans.tensor("pos_embed", 1, (side // patch) ** 2, width),
        **plans.tensor("patch_embed.proj.weight", width, 3, patch, patch),
        **plans.tensor("patch_embed.proj.bias", width),
        **plans.norm("norm", width),
        **plans.tensor("attn_pool.latent", 1, 1, width),
        **plans.linear("attn_pool.q", width, width),
        **plans.linear("attn_pool.kv", width, 2 * width),
        **plans.linear("attn_pool.proj", width, width),
        **plans.norm("attn_pool.norm", width),
        **plans.linear("attn_pool.mlp.fc1", width, hidden),
        **plans.linear("attn_pool.mlp.fc2", hidden, width),
    }
    for i in range(vit.depth):
        block = {
            **plans.norm("norm1", width),
            **plans.linear("attn.qkv", width, 3 * width),
            **plans.linear("attn.proj", width, width),
            **plans.norm("norm2", width),
            **plans.linear("mlp.fc1", width, hidden),
            **plans.linear("mlp.fc2", hidden, width),
        }
        tensors |= plans.prefixed(f"blocks.{i}", block)
    return TowerPlan(width, plans.prefixed("model", tensors))


def _convolution(name: str, wide_in: int, wide_out: int, kernel: int) -> Plan:
    """A convolution without a bias, and its batch norm."""
    return {
        **plans.tensor(f"{name}.conv.weight", wide_out, wide_in, kernel, kernel),
        **plans.batch_norm(f"{name}.bn", wide_out),
    }


def _branches(
    name: str, wide_in: int, wide_out: int, kernel: int, *, scale: bool, identity: bool
) -> Plan:
    """MobileOne's block: a convolution, one of 1 x 1 beside it, and the input itself."""
    found = _convolution(f"{name}.conv_kxk.0", wide_in, wide_out, kernel)
    if scale:
        found |= _convolution(f"{name}.conv_scale", wide_in, wide_out, 1)
    if identity:
        found |= plans.batch_norm(f"{name}.identity", wide_out)
    return found


def _pointwise(name: str, wide_in: int, wide_out: int) -> Plan:
    """A convolution of 1 x 1 with a bias."""
    return {
        **plans.tensor(f"{name}.weight", wide_out, wide_in, 1, 1),
        **plans.tensor(f"{name}.bias", wide_out),
    }


def _squeeze(name: str, width: int, share: int) -> Plan:
    """A squeeze-and-excitation: down to a share of the width, and up again."""
    return {
        **_pointwise(f"{name}.fc1", width, width // share),
        **_pointwise(f"{name}.fc2", width // share, width),
    }


def _fast_block(width: int, *, attention: bool) -> Plan:
    hidden = _MLP_RATIO * width
    mlp = {
        **_convolution("mlp.conv", 1, width, _KERNEL),
        **_pointwise("mlp.fc1", width, hidden),
        **_pointwise("mlp.fc2", hidden, width),
    }
    if attention:
        return mlp | {
            **plans.batch_norm("norm", width),
            **plans.linear("token_mixer.qkv", width, 3 * width, bias=False),
            **plans.linear("token_mixer.proj", width, width),
            **plans.tensor("layer_scale_1.gamma", width, 1, 1),
            **plans.tensor("layer_scale_2.gamma", width, 1, 1),
        }
    mixer = "token_mixer.mixer"
    return mlp | {
        **plans.batch_norm("token_mixer.norm.identity", width),
        **_branches(mixer, 1, width, _SMALL_KERNEL, scale=True, identity=True),
        **plans.tensor("token_mixer.layer_scale.gamma", width, 1, 1),
        **plans.tensor("layer_scale.gamma", width, 1, 1),
    }


def _fast_vit(model: _FastVit) -> TowerPlan:
    """Three stages of convolutions, a fourth with attention, and a last convolution."""
    width = model.width
    tensors: Plan = {
        **_branches("stem.0", 3, width, _SMALL_KERNEL, scale=True, identity=False),
        **_branches("stem.1", 1, width, _SMALL_KERNEL, scale=True, identity=False),
        **_branches("stem.2", width, width, 1, scale=False, identity=True),
    }
    last = len(model.layers) - 1
    for stage, blocks in enumerate(model.layers):
        wide = width * 2**stage
        if stage:
            down = f"stages.{stage}.downsample.proj"
            tensors |= _convolution(f"{down}.0.large_conv", 1, wide, _KERNEL)
            tensors |= _convolution(f"{down}.0.small_conv", 1, wide, _SMALL_KERNEL)
            tensors |= _branches(f"{down}.1", wide, wide, 1, scale=False, identity=True)
            if stage >= 2:  # the first of them has no squeeze-and-excitation
                tensors |= _squeeze(f"{down}.0.se", wide, 4)
        if stage == last:
            places = f"stages.{stage}.pos_emb.pos_enc"
            tensors |= plans.tensor(f"{places}.weight", wide, 1, _KERNEL, _KERNEL)
            tensors |= plans.tensor(f"{places}.bias", wide)
        for i in range(blocks):
            block = _fast_block(wide, attention=stage == last)
            tensors |= plans.prefixed(f"stages.{stage}.blocks.{i}", block)
    features = 2 * width * 2**last
    tensors |= _branches("final_conv", 1, features, _SMALL_KERNEL, scale=True, identity=False)
    tensors |= _squeeze("final_conv.se", features, 16)
    return TowerPlan(features, plans.prefixed("model", tensors))
