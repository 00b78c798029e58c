"""timm's towers in timm's own words: a repository's ``config.json``, and the records of weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from engine.contracts.description import (
    NOTHING,
    Description,
    Difference,
    Fact,
    Table,
    equal,
    same_activation,
    same_square,
    shown,
)

_QUICK = "_quickgelu"  # in the name of an architecture
_NATIVE = "quickgelu"  # in timm's notes of weights: "natively QuickGELU, use quickgelu model ..."
# Arguments that change the classifier, or training alone.
_NO_MATTER = (
    "num_classes", "drop", "attn_drop", "proj_drop", "pos_drop", "patch_drop", "pretrained",
    "global_pool", "img_size", "checkpoint", "in_chans", "weight_init",
)  # fmt: skip


def _heads(tower: Any) -> int | None:
    """Attention heads of a vision transformer's blocks."""
    blocks = getattr(tower.model, "blocks", None)
    return getattr(getattr(blocks[0], "attn", None), "num_heads", None) if blocks else None


def _block_activation(tower: Any) -> str:
    """Of the blocks' MLP, by its name in timm."""
    blocks = getattr(tower.model, "blocks", None)
    act = getattr(getattr(blocks[0], "mlp", None), "act", None) if blocks else None
    name = type(act).__name__
    tanh = name == "GELUTanh" or getattr(act, "approximate", "none") == "tanh"
    return "gelu_tanh" if tanh else {"GELU": "gelu", "QuickGELU": "quick_gelu"}.get(name, name)


def _patch(tower: Any) -> Any:
    return getattr(getattr(tower.model, "patch_embed", None), "patch_size", None)


def _eps(tower: Any) -> float | None:
    return getattr(getattr(tower.model, "norm", None), "eps", None)


def _has_attention_pool(tower: Any) -> bool:
    return getattr(tower.model, "attn_pool", None) is not None


def _arch(tower: Any) -> str:
    arch: str = tower.settings.arch.partition(".")[0]
    return arch


OTHERS = (
    Table("transformers", ("siglip_vision_model",), (
        Fact("num_attention_heads", _heads, "arch", 12),
        Fact("hidden_act", _block_activation, "activation", "gelu_pytorch_tanh", same_activation),
        Fact("layer_norm_eps", _eps, default=1e-6),
        Fact("image_size", lambda t: t.preprocess.size, "image_size", 224, same_square),
        Fact("patch_size", _patch, "arch", 16, same=lambda theirs, ours: equal(
            [theirs, theirs] if isinstance(theirs, int) else theirs, ours)),
        Fact("num_channels", lambda t: 3, default=3),
        Fact("vision_use_head", _has_attention_pool, "arch", True),
        Fact("pooler_output", lambda t: "attention", default="attention"),
    )),
    Table("open_clip", ("timm",), (
        Fact("timm_model_name", _arch, "arch"),
        Fact("image_size", lambda t: t.preprocess.size, "image_size", 224, same_square),
        Fact("timm_pool", lambda t: pool_of(t.model), "arch", "avg",
             same=lambda theirs, ours: theirs == ours or not theirs),
        Fact("quick_gelu", lambda t: False, default=False, same=lambda theirs, ours: True),
    ), ("timm_", "output_tokens", "heads", "layers", "width", "patch_")),
)  # fmt: skip
"""Programs that hold a model of timm, or one that timm has too, inside of a CLIP."""


def timm_differences(
    arch: str, size: int, model: nn.Module, record: Mapping[str, Any], description: Description
) -> list[Difference]:
    """What a description says and a timm tower does not do.

    Args:
        arch: timm's name of the architecture, without the tag of weights.
        size: side of the picture, in pixels.
        model: timm's model.
        record: timm's own record of the weights that the config names.
        description: what lies beside the weights, or the absence of that.
    """
    if description.program == NOTHING:
        native = _is_native(record)
        return list(_activation(arch, native, f"timm's record of `{record.get('tag')}`"))
    if description.program != "timm":
        return []
    return list(_of_config(arch, size, model, description))


def _of_config(
    arch: str, size: int, model: nn.Module, description: Description
) -> Iterator[Difference]:
    values, place = description.values, description.place
    theirs, _, tag = str(values.get("architecture")).partition(".")
    own = values.get("pretrained_cfg")
    weights = own if isinstance(own, Mapping) else values
    tag = str(weights.get("tag") or tag)
    if theirs.replace(_QUICK, "") != arch.replace(_QUICK, ""):
        yield Difference(f"`architecture` is {shown(theirs)} in {place}; `arch` is {shown(arch)} in"
                         " the config")  # fmt: skip
        return
    arguments = values.get("model_args")
    arguments = arguments if isinstance(arguments, Mapping) else {}
    quick = _QUICK in theirs or "quick" in str(arguments.get("act_layer"))
    native = quick or _is_native(weights) or _is_native(_record(f"{theirs}.{tag}"))
    yield from _activation(arch, native, place)
    for key, value in arguments.items():
        if (key == "act_layer" and quick) or key.startswith(_NO_MATTER):
            continue
        yield Difference(f"`model_args.{key}` is {shown(value)} in {place}; TimmVision builds the"
                         f" architecture without it")  # fmt: skip
    pool, ours = values.get("global_pool"), pool_of(model)
    if isinstance(pool, str) and ours is not None and pool != ours:
        yield Difference(f"`global_pool` is {shown(pool)} in {place}; timm's `{arch}` pools by"
                         f" {shown(ours)}")  # fmt: skip
    wanted = weights.get("input_size")
    if weights.get("fixed_input_size") and isinstance(wanted, list) and not equal(wanted[-1], size):
        yield Difference(f"`input_size` is {shown(wanted)} in {place}, and fixed; `image_size` is"
                         f" {size} in the config")  # fmt: skip


def _activation(arch: str, native: bool, place: str) -> Iterator[Difference]:
    if native == (_QUICK in arch) or "clip" not in arch:
        return
    name, other = ("QuickGELU", "GELU") if native else ("GELU", "QuickGELU")
    instead = arch.replace(_QUICK, "")
    if native:
        stem, _, end = instead.rpartition("_")
        instead = f"{stem}{_QUICK}_{end}"
    yield Difference(
        f"the weights were trained with {name} by {place}; `arch` is {shown(arch)} in the config,"
        f" which computes with {other} (`{instead}` with {name})"
    )


def _is_native(record: Mapping[str, Any]) -> bool:
    notes = record.get("notes")
    words = notes if isinstance(notes, (list, tuple)) else [notes]
    return any(_NATIVE in str(word).lower() and "natively" in str(word) for word in words)


def _record(name: str) -> Mapping[str, Any]:
    import timm

    try:
        return dict(timm.get_pretrained_cfg(name, allow_unregistered=False).to_dict())
    except (RuntimeError, AttributeError):  # no such tag
        return {}


def pool_of(model: nn.Module) -> str | None:
    """How a model pools by its own word, where it has one."""
    for holder in (model, getattr(model, "head", None)):
        found = getattr(holder, "global_pool", None)
        found = getattr(found, "pool_type", found)
        if isinstance(found, str):
            return found
    return None
