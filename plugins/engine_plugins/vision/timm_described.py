"""timm's towers in timm's own words: a repository's ``config.json``, and the records of weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from engine.contracts.description import NOTHING, Description, Difference, equal, shown

_QUICK = "_quickgelu"  # in the name of an architecture
_NATIVE = "quickgelu"  # in timm's notes of weights: "natively QuickGELU, use quickgelu model ..."
# Arguments that change the classifier, or training alone.
_NO_MATTER = (
    "num_classes", "drop", "attn_drop", "proj_drop", "pos_drop", "patch_drop", "pretrained",
    "global_pool", "img_size", "checkpoint", "in_chans", "weight_init",
)  # fmt: skip


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
    pool, ours = values.get("global_pool"), _pool(model)
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


def _pool(model: nn.Module) -> str | None:
    """How a model pools by its own word, where it has one."""
    for holder in (model, getattr(model, "head", None)):
        found = getattr(holder, "global_pool", None)
        found = getattr(found, "pool_type", found)
        if isinstance(found, str):
            return found
    return None
