"""CLIP's towers as other programs describe them: the numbers of a config. Imports no torch.

The defaults of absent keys are those of transformers (``configuration_clip.py``, 5.24) and
open_clip (``CLIPTextCfg`` and ``CLIPVisionCfg``, 3.3); tests hold them to the installed packages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.contracts.description import Description
from engine.contracts.proposal import Proposal, number, ratio
from engine_plugins.clip_archs import arch_of
from engine_plugins.pictures_described import picture_settings

_IDENTITY = {"use": "identity"}
_VISION = ("clip_vision_model", "chinese_clip_vision_model")


def clip_text(description: Description, aside: Sequence[Description]) -> Proposal | None:
    """CLIP's text transformer: causal, pooled at the end mark."""
    if description.program == "transformers" and description.kind == "clip_text_model":
        return _proposal("text", _transformers_text(description))
    if description.program == "open_clip" and description.kind == "clip":
        values = description.values
        if values.get("no_causal_mask") or values.get("pool_type", "argmax") not in _AT_END:
            return None  # another transformer, though open_clip has one class for both
        return _proposal("text", _open_clip_text(description))
    return None


_AT_END = ("argmax", "eos")


def _transformers_text(description: Description) -> dict[str, Any]:
    values = description.values
    width = number(values, "hidden_size", default=512)
    return {
        "vocab_size": number(values, "vocab_size", default=49408),
        "max_tokens": number(values, "max_position_embeddings", default=77),
        "width": width,
        "layers": number(values, "num_hidden_layers", default=12),
        "heads": number(values, "num_attention_heads", default=8),
        "mlp_ratio": ratio(width, number(values, "intermediate_size", default=2048)),
        "embed_width": _joint(description),
        "quick_gelu": values.get("hidden_act", "quick_gelu") == "quick_gelu",
    }


def _open_clip_text(description: Description) -> dict[str, Any]:
    values = description.values
    return {
        "vocab_size": number(values, "vocab_size", default=49408),
        "max_tokens": number(values, "context_length", default=77),
        "width": number(values, "width", default=512),
        "layers": number(values, "layers", default=12),
        "heads": number(values, "heads", default=8),
        "mlp_ratio": _open_clip_ratio(values),
        "embed_width": number(description.model, "embed_dim"),
        "quick_gelu": bool(values.get("quick_gelu", False)),
    }


def clip_vision(description: Description, aside: Sequence[Description]) -> Proposal | None:
    """CLIP's vision transformer: a class token, a norm before the blocks."""
    if description.kind == "clip" and description.program == "open_clip":
        found = _open_clip_vision(description)
    elif description.kind in _VISION and description.program == "transformers":
        found = _transformers_vision(description)
    else:
        return None
    pictures = picture_settings(description.program, aside)
    side = pictures.pop("image_size", found["image_size"])
    if side != found["image_size"]:
        raise ValueError(
            f"the picture's side is {side} in what lies beside {description.place}, where"
            f" `image_size` is {found['image_size']}"
        )
    return _proposal("vision", {**found, **pictures})


def _transformers_vision(description: Description) -> dict[str, Any]:
    values = description.values
    width = number(values, "hidden_size", default=768)
    return {
        "image_size": _square(values, "image_size", 224),
        "patch_size": _square(values, "patch_size", 32),
        "width": width,
        "layers": number(values, "num_hidden_layers", default=12),
        "heads": number(values, "num_attention_heads", default=12),
        "mlp_ratio": ratio(width, number(values, "intermediate_size", default=3072)),
        "embed_width": _joint(description),
        "quick_gelu": values.get("hidden_act", "quick_gelu") == "quick_gelu",
    }


def _open_clip_vision(description: Description) -> dict[str, Any]:
    values = description.values
    width = number(values, "width", default=768)
    head = number(values, "head_width", default=64)
    if width % head:
        raise ValueError(f"`head_width` {head} does not divide `width` {width}")
    return {
        "image_size": _square(values, "image_size", 224),
        "patch_size": _square(values, "patch_size", 16),
        "width": width,
        "layers": number(values, "layers", default=12),
        "heads": width // head,
        "mlp_ratio": _open_clip_ratio(values),
        "embed_width": number(description.model, "embed_dim"),
        "quick_gelu": bool(values.get("quick_gelu", False)),
    }


def _open_clip_ratio(values: Mapping[str, Any]) -> float:
    """open_clip's own ``mlp_ratio``: it too computes ``int(width * mlp_ratio)``."""
    found = values.get("mlp_ratio", 4.0)
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        raise ValueError(f"`mlp_ratio` is {found!r:.60}: expected a number")
    return float(found)


def _joint(description: Description) -> int:
    """Width of the joint space: the whole model's, or else the section's own."""
    own = number(description.values, "projection_dim", default=512)
    return number(description.model, "projection_dim", default=own)


def _square(values: Mapping[str, Any], key: str, default: int) -> int:
    found = values.get(key, default)
    if isinstance(found, (list, tuple)):
        if len(set(found)) != 1:
            raise ValueError(f"`{key}` is {found}; Engine's pictures and patches are square")
        found = found[0]
    return number({key: found}, key)


def _proposal(tower: str, settings: dict[str, Any]) -> Proposal:
    arch = arch_of(tower, settings)
    named = {"arch": arch, **settings} if arch else settings
    return Proposal(named, _IDENTITY, settings["embed_width"])
