"""SigLIP's and MobileCLIP's text transformers in the words of other programs. Imports no torch.

The defaults are those of transformers (``configuration_siglip.py``, 5.24) and open_clip
(``model.py``, 3.3); tests hold them to the installed packages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.contracts.description import Fact, Table, equal, same_activation

_OFF = (
    "qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc",
)  # fmt: skip
_NO_MATTER = ("final_ln_after_pool", "timm_", "hf_", "output_tokens")


def _same_eps(theirs: Any, ours: Any) -> bool:
    """``None``, or ``{"eps": 1e-6}``: open_clip's own epsilon is 1e-5."""
    if not theirs:
        return equal(1e-5, ours)
    return isinstance(theirs, Mapping) and theirs.keys() == {"eps"} and equal(theirs["eps"], ours)


def _same_gelu(theirs: Any, ours: Any) -> bool:
    """``None``, or ``{"approximate": "tanh"}``, for another activation than QuickGELU."""
    if ours == "quick_gelu":
        return not theirs
    approximate = "none" if not theirs else theirs.get("approximate", "none")
    return bool(approximate == ("tanh" if ours == "gelu_tanh" else "none"))


def _same_pooling(theirs: Any, ours: Any) -> bool:
    return bool(theirs == "last" if ours == "last" else theirs in ("argmax", "eos"))


TEXT = (
    Table("open_clip", ("clip",), (
        Fact("heads", lambda t: t.settings.heads, "heads", 8),
        Fact("quick_gelu", lambda t: t.settings.activation == "quick_gelu", "activation", False),
        Fact("act_kwargs", lambda t: t.settings.activation, "activation", None, _same_gelu),
        Fact("norm_kwargs", lambda t: t.settings.norm_eps, "norm_eps", None, _same_eps),
        Fact("no_causal_mask", lambda t: True, default=False),
        Fact("context_length", lambda t: t.settings.max_tokens, "max_tokens", 77),
        Fact("pool_type", lambda t: t.settings.pooling, "pooling", "argmax", _same_pooling),
        Fact("proj_bias", lambda t: t.settings.project == "linear", "project", False),
        Fact("proj_type", lambda t: "none" if t.settings.project == "none" else "linear", "project",
             "linear"),
        Fact("embed_cls", lambda t: False, default=False),
        Fact("ls_init_value", lambda t: None, default=None),
        Fact("block_type", lambda t: None, default=None,
             same=lambda theirs, ours: theirs in (None, "default")),
        *(Fact(key, lambda t: False, default=False) for key in _OFF),
    ), _NO_MATTER),
    Table("transformers", ("siglip_text_model", "siglip2_text_model"), (
        Fact("num_attention_heads", lambda t: t.settings.heads, "heads", 12),
        Fact("hidden_act", lambda t: t.settings.activation, "activation", "gelu_pytorch_tanh",
             same_activation),
        Fact("layer_norm_eps", lambda t: t.settings.norm_eps, "norm_eps", 1e-6),
        Fact("max_position_embeddings", lambda t: t.settings.max_tokens, "max_tokens", 64),
        Fact("pooler_output", lambda t: t.settings.pooling, "pooling", "last"),
    )),
)  # fmt: skip
