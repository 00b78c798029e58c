"""CLIP's towers in the words of other programs. Nothing here imports torch.

The defaults are those of transformers (``configuration_clip.py``, 5.24), open_clip (``model.py``,
3.3) and ruclip 0.0.2; tests hold them to the installed packages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.contracts.description import (
    NOTHING,
    Description,
    Difference,
    Fact,
    Table,
    equal,
    same_activation,
    same_square,
)

EPS = 1e-5
"""Of every layer norm."""

_OLD_END = 2  # to transformers: pool at the largest id, as in files from before its correction
_NO_MATTER = (
    "final_ln_after_pool",
    "attn_pooler_",
    "timm_",
    "hf_",
    "output_tokens",
    "pooler_output",
)
"""Keys of open_clip that change nothing where pooling takes one place: a norm before or after it,
and settings of parts that other keys switch off."""


def _activation(tower: Any) -> str:
    return "quick_gelu" if tower.settings.quick_gelu else "gelu"


def _is_norm(theirs: Any, ours: Any) -> bool:
    return not theirs or (isinstance(theirs, Mapping) and equal(dict(theirs), {"eps": ours}))


def _no_options(theirs: Any, ours: Any) -> bool:
    return not theirs


def _one_of(*names: object) -> Any:
    return lambda theirs, ours: theirs in names


_QUICK = Fact("hidden_act", _activation, "quick_gelu", "quick_gelu", same_activation)
_OPEN_CLIP = (
    Fact("quick_gelu", lambda t: t.settings.quick_gelu, "quick_gelu", False),
    Fact("act_kwargs", lambda t: None, default=None, same=_no_options),
    Fact("norm_kwargs", lambda t: EPS, default=None, same=_is_norm),
    Fact("ls_init_value", lambda t: None, default=None),
    Fact("block_type", lambda t: None, default=None, same=_one_of(None, "default")),
    *(Fact(key, lambda t: False, default=False) for key in (
        "qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn",
        "scale_fc")),
)  # fmt: skip

TEXT = (
    Table("transformers", ("clip_text_model",), (
        Fact("num_attention_heads", lambda t: t.settings.heads, "heads", 8),
        _QUICK,
        Fact("layer_norm_eps", lambda t: EPS, default=1e-5),
    ), _NO_MATTER),
    Table("open_clip", ("clip",), (
        Fact("heads", lambda t: t.settings.heads, "heads", 8),
        *_OPEN_CLIP,
        Fact("no_causal_mask", lambda t: False, default=False),
        Fact("embed_cls", lambda t: False, default=False),
        Fact("pool_type", lambda t: "argmax", default="argmax", same=_one_of("argmax", "eos")),
        Fact("proj_bias", lambda t: False, default=False),
        Fact("proj_type", lambda t: "linear", default="linear"),
    ), _NO_MATTER),
    Table("ruclip", ("text",), (
        Fact("transformer_heads", lambda t: t.settings.heads, "heads"),
        _QUICK,
    )),
    Table("openai", (), (_QUICK,)),
)  # fmt: skip

_IMAGE_SIZE = Fact("image_size", lambda t: t.settings.image_size, "image_size", 224, same_square)
VISION = (
    Table("transformers", ("clip_vision_model", "chinese_clip_vision_model"), (
        Fact("num_attention_heads", lambda t: t.settings.heads, "heads", 12),
        _QUICK,
        Fact("layer_norm_eps", lambda t: EPS, default=1e-5),
        _IMAGE_SIZE,
        Fact("patch_size", lambda t: t.settings.patch_size, "patch_size", 32, same_square),
        Fact("num_channels", lambda t: 3, default=3),
    ), _NO_MATTER),
    Table("open_clip", ("clip",), (
        Fact("head_width", lambda t: t.settings.width // t.settings.heads, "width / heads", 64),
        *_OPEN_CLIP,
        _IMAGE_SIZE,
        Fact("patch_size", lambda t: t.settings.patch_size, "patch_size", 16, same_square),
        Fact("no_ln_pre", lambda t: False, default=False),
        Fact("attentional_pool", lambda t: False, default=False),
        Fact("pool_type", lambda t: "tok", default="tok"),
        Fact("pos_embed_type", lambda t: "learnable", default="learnable"),
    ), _NO_MATTER),
    Table("ruclip", ("vision",), (
        Fact("vision_width", lambda t: t.settings.heads, "heads",
             same=lambda theirs, ours: isinstance(theirs, int) and max(1, theirs // 64) == ours,
             note="ruCLIP has a head for each 64 of it"),
        _QUICK,
        Fact("image_resolution", lambda t: t.settings.image_size, "image_size"),
        Fact("mean", lambda t: t.settings.mean, "mean", refuse=False),
        Fact("std", lambda t: t.settings.std, "std", refuse=False),
    )),
    Table("openai", (), (
        _QUICK,
        Fact("input_resolution", lambda t: t.settings.image_size, "image_size"),
    )),
)  # fmt: skip


def end_differences(description: Description) -> list[Difference]:
    """Where a program pools a text, against the tokenizer's end mark, where Engine pools."""
    end = description.end
    if end is None or description.kind not in ("clip_text_model", "clip"):
        return []
    program, values = description.program, description.values
    if program == "transformers":
        theirs = values.get("eos_token_id", 49407)
        key, largest = "eos_token_id", theirs == _OLD_END
    elif program == "open_clip":
        theirs, largest = values.get("eos_id", 2), values.get("pool_type", "argmax") == "argmax"
        key = "pool_type" if largest else "eos_id"
    else:
        return []
    if isinstance(theirs, list) and len(theirs) == 1:
        theirs = theirs[0]
    if end.largest if largest else (theirs == end.mark and end.mark is not None):
        return []
    meant = "the largest id of a text" if largest else f"the id {theirs!r}"
    mark = "no one mark" if end.mark is None else f"the id {end.mark}"
    return [
        Difference(f"{description.place} pools a text at {meant} (`{key}`); the config's tokenizer"
                   f" ends texts with {mark}")
    ]  # fmt: skip


def unknown_activation(tower: Any, description: Description) -> list[Difference]:
    """What a file of weights alone leaves open, where its config guesses it."""
    if description.program != NOTHING:
        return []
    own = "true" if tower.settings.quick_gelu else "false"
    return [
        Difference(f"nothing beside {description.place} says whether the weights were trained with"
                   " QuickGELU (OpenAI's, and what was trained from them) or with GELU (most others"
                   " of open_clip); their tensors look alike, and the config has"
                   f" `quick_gelu: {own}`",
                   refuse=False)
    ]  # fmt: skip


def openai_numbers(weights: Mapping[str, Any], place: str) -> Description | None:
    """What the three numbers say that OpenAI's own files carry, and no other program writes.

    Args:
        weights: tensors (or numbers) by OpenAI's names.
        place: whose they are, for messages.
    """
    numbers = {
        name: int(weights[name])
        for name in ("input_resolution", "context_length", "vocab_size")
        if name in weights and getattr(weights[name], "numel", lambda: 1)() == 1
    }
    if "input_resolution" not in numbers:
        return None
    values = {"hidden_act": "quick_gelu", **numbers}
    return Description("openai", None, f"{place}, whose three numbers are OpenAI's", values)
