"""SigLIP and MobileCLIP as other programs describe them: the numbers of a config. Imports no torch.

Engine's SigLIP is open_clip's: timm's vision tower, and a text transformer that reads padding. The
defaults of absent keys are transformers' (``configuration_siglip.py``, 5.24) and open_clip's
(``model.py``, 3.3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.contracts.description import Description
from engine.contracts.proposal import Proposal, number, ratio
from engine_plugins.pictures_described import picture_settings

_IDENTITY = {"use": "identity"}
_TEXT = ("siglip_text_model", "siglip2_text_model")
_VISION = ("siglip_vision_model",)
_GELU = {"gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "quick_gelu": "quick_gelu"}
_BASE = {
    (768, 12, 12, 3072): "base", (1024, 24, 16, 4096): "large", (1152, 27, 16, 4304): "so400m",
}  # fmt: skip
"""Width, layers, heads and hidden width of timm's SigLIP towers."""
_ANY = "vit_base_patch16_siglip_224"
"""The architecture that other sizes are given to."""


def padded_text(
    description: Description, aside: Sequence[Description], *, last: bool
) -> Proposal | None:
    """A text transformer without the causal mask.

    Args:
        description: the text tower.
        aside: what lies beside it; of its tokenizer too.
        last: whether it is to pool at the last place (SigLIP), or at a text's end (MobileCLIP).
    """
    if last and description.program == "transformers" and description.kind in _TEXT:
        return _of_transformers(description, aside)
    values = description.values
    if description.program != "open_clip" or description.kind != "clip":
        return None
    pool = values.get("pool_type", "argmax")
    if not values.get("no_causal_mask") or pool not in ("last", "argmax", "eos"):
        return None
    if (pool == "last") is not last:
        return None
    return _of_open_clip(description, pool)


def _of_transformers(description: Description, aside: Sequence[Description]) -> Proposal:
    values = description.values
    width = number(values, "hidden_size", default=768)
    joint = number(values, "projection_size", default=width)
    act = values.get("hidden_act", "gelu_pytorch_tanh")
    settings = {
        "vocab_size": number(values, "vocab_size", default=32000),
        "max_tokens": number(values, "max_position_embeddings", default=64),
        "width": width,
        "layers": number(values, "num_hidden_layers", default=12),
        "heads": number(values, "num_attention_heads", default=12),
        "mlp_ratio": ratio(width, number(values, "intermediate_size", default=3072)),
        "embed_width": joint,
        "activation": _GELU.get(str(act), "gelu_tanh"),
        "norm_eps": values.get("layer_norm_eps", 1e-6),
        "pooling": "last",
        "project": "linear",
        "pad_id": _padding(aside, 0 if _is_gemma(aside) else 1),
    }
    return Proposal(settings, _IDENTITY, joint)


def _of_open_clip(description: Description, pool: str) -> Proposal:
    values = description.values
    norm, act = values.get("norm_kwargs") or {}, values.get("act_kwargs") or {}
    joint = number(description.model, "embed_dim")
    vocabulary = number(values, "vocab_size", default=49408)
    named = str(values.get("hf_tokenizer_name", ""))
    gelu = "gelu_tanh" if act.get("approximate") == "tanh" else "gelu"
    bias = "linear" if values.get("proj_bias") else "matrix"
    settings = {
        "vocab_size": vocabulary,
        "max_tokens": number(values, "context_length", default=77),
        "width": number(values, "width", default=512),
        "layers": number(values, "layers", default=12),
        "heads": number(values, "heads", default=8),
        "mlp_ratio": float(values.get("mlp_ratio", 4.0)),
        "embed_width": joint,
        "activation": "quick_gelu" if values.get("quick_gelu") else gelu,
        "norm_eps": norm.get("eps", 1e-5),
        "pooling": "last" if pool == "last" else "end",
        "project": "none" if values.get("proj_type") == "none" else bias,
        "pad_id": 0 if "SigLIP2" in named or not named else 1,
    }
    return Proposal(settings, _IDENTITY, joint)


def _is_gemma(aside: Sequence[Description]) -> bool:
    kinds = {one.kind for one in aside if one.program == "transformers"}
    return bool(kinds & {"GemmaTokenizer", "Siglip2Tokenizer"})


def _padding(aside: Sequence[Description], default: int) -> int:
    """The id of the padding token, by the tokenizer's own list of added tokens."""
    for one in aside:
        token = one.values.get("pad_token") if one.program == "transformers" else None
        token = token.get("content") if isinstance(token, Mapping) else token
        for other in aside:
            added = other.values.get("added_tokens") if other.program == "tokenizers" else None
            for entry in added if isinstance(added, list) else []:
                if token and isinstance(entry, Mapping) and entry.get("content") == token:
                    return int(entry["id"])
    return default


def timm_vision(description: Description, aside: Sequence[Description]) -> Proposal | None:
    """A vision tower of timm inside of open_clip, or transformers' SigLIP."""
    if description.program == "open_clip" and description.kind == "timm":
        return _timm_of_open_clip(description, aside)
    if description.program == "transformers" and description.kind in _VISION:
        return _timm_of_transformers(description, aside)
    return None


def _timm_of_open_clip(description: Description, aside: Sequence[Description]) -> Proposal:
    values = description.values
    joint = number(description.model, "embed_dim")
    kind = values.get("timm_proj", "linear")
    # With neither a projection nor pooling of open_clip's own, timm's classifier is the projection.
    projections: Mapping[Any, dict[str, Any]] = {
        "none": _IDENTITY,
        "linear": {"use": "linear", "bias": bool(values.get("timm_proj_bias", False))},
        "mlp": {
            "use": "mlp",
            "hidden_width": 2 * joint,
            "bias": "both" if values.get("timm_proj_bias") else "first",
        },
        None: {"use": "linear", "bias": True},
        "": {"use": "linear", "bias": True},
    }
    if kind not in projections:
        raise ValueError(f"`timm_proj` is {kind!r:.60}; Engine has none, linear and mlp")
    settings: dict[str, Any] = {
        "arch": str(values["timm_model_name"]),
        "image_size": number(values, "image_size", default=224),
        "crop_pct": 1.0,
        **picture_settings("open_clip", aside),
    }
    return Proposal(settings, projections[kind], joint)


def _timm_of_transformers(description: Description, aside: Sequence[Description]) -> Proposal:
    values = description.values
    width = number(values, "hidden_size", default=768)
    layers = number(values, "num_hidden_layers", default=12)
    heads = number(values, "num_attention_heads", default=12)
    size = number(values, "image_size", default=224)
    patch = number(values, "patch_size", default=16)
    hidden = number(values, "intermediate_size", default=3072)
    base = _BASE.get((width, layers, heads, hidden))
    act = str(values.get("hidden_act", "gelu_pytorch_tanh"))
    pictures = picture_settings("transformers", aside)
    if pictures.pop("image_size", size) != size:
        raise ValueError(f"the picture's side is not `image_size`, {size}")
    settings = {
        "arch": f"vit_{base}_patch{patch}_siglip_{size}" if base else _ANY,
        "image_size": size,
        "activation": _GELU.get(act, "gelu_tanh"),
        "crop_pct": 1.0,
        **pictures,
    }
    if base is None:
        settings["vit"] = {
            "patch_size": patch, "width": width, "layers": layers, "heads": heads,
            "mlp_width": hidden,
        }  # fmt: skip
    return Proposal(settings, _IDENTITY, width)
