"""The files of other programs taken apart: which section is about which tower.

A ``config.json`` may be transformers', timm's or ruCLIP's; one of CLIP describes two towers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from engine.contracts.description import Description
from engine.core.descriptions.pictures import PICTURES, picture_kind

# Parts of a transformers config: the key of the section, and the kind that a section of a `clip`
# has where it does not say so itself.
_SECTIONS = {
    "vision": ("vision_config", {"clip": "clip_vision_model",
                                 "chinese_clip": "chinese_clip_vision_model"}),
    "text": ("text_config", {"clip": "clip_text_model", "chinese_clip": "chinese_clip_text_model"}),
}  # fmt: skip
_CODE = "auto_map"
_POOLED_FIRST = ("vision-text-dual-encoder", "chinese_clip")
"""Models that take a text's first token, whatever its encoder can give beside."""
_HINTS = ("architectures", "hidden_size", "n_embd", "num_hidden_layers", "n_layer")


def mapping(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The mapping under a key; empty where there is none."""
    found = values.get(key)
    return dict(found) if isinstance(found, Mapping) else {}


def of_file(name: str, values: Mapping[str, Any], part: str, place: str) -> list[Description]:
    """What a file beside weights says of one tower.

    Args:
        name: the file's name, one of those that :mod:`engine.core.descriptions.files` looks for.
        values: what it holds.
        part: ``"vision"`` or ``"text"``.
        place: where it lies, for messages.
    """
    if name == "open_clip_config.json":
        return open_clip_model(mapping(values, "model_cfg") or values, part, place) + pictures(
            "open_clip", values.get("preprocess_cfg"), part, f"{place}, preprocess_cfg"
        )
    if name == "preprocessor_config.json":
        return pictures("transformers", values, part, place)
    if name == "processor_config.json":
        inner = values.get("image_processor")
        return pictures("transformers", inner, part, f"{place}, image_processor")
    if name == "1_Pooling/config.json":
        pooling = Description("sentence_transformers", None, place, values, aside=True)
        return [pooling] if part == "text" else []
    return _of_config(values, part, place)


def pictures(program: str, values: object, part: str, place: str) -> list[Description]:
    """How a program prepares pictures, for the vision tower alone."""
    if part != "vision" or not isinstance(values, Mapping):
        return []
    return [Description(program + PICTURES, picture_kind(values), place, values, aside=True)]


def _of_config(values: Mapping[str, Any], part: str, place: str) -> list[Description]:
    """A ``config.json``, whichever program wrote it."""
    if isinstance(values.get("architecture"), str):
        return _timm(values, part, place)
    if "model_cfg" in values:
        return open_clip_model(mapping(values, "model_cfg"), part, place)
    if "transformer_heads" in values or "image_resolution" in values:
        return [Description("ruclip", part, place, values)]
    sections = [key for key, _ in _SECTIONS.values() if key in values]
    if "model_type" in values or sections or any(hint in values for hint in _HINTS):
        return [_transformers(values, part, place)]
    return [Description("unknown", None, place, values)]


def _transformers(
    values: Mapping[str, Any],
    part: str,
    place: str,
    general: Mapping[str, Any] | None = None,
    model: Mapping[str, Any] | None = None,
) -> Description:
    """The section of a nested config that is about a tower, or all of a flat one.

    Args:
        values: the config, or a section of it.
        part: ``"vision"`` or ``"text"``.
        place: where it stands.
        general: what the config around it says of every section.
        model: what the config around it says of the whole model.
    """
    general = {**(general or {}), **_general(values)}
    key, kinds = _SECTIONS[part]
    stated = values.get("model_type")
    kind = None if stated is None else str(stated)
    if kind in kinds or key in values:
        inner, where = mapping(values, key), f"{place}, {key}"
        if kind in kinds and isinstance(values.get(f"{key}_dict"), Mapping):
            # transformers takes this older section, and its own defaults, over the other.
            inner, where = mapping(values, f"{key}_dict"), f"{place}, {key}_dict"
        if kind in kinds:
            inner.setdefault("model_type", kinds[kind])
        elif kind not in (None, *_POOLED_FIRST):  # as transformers names sections
            inner.setdefault("model_type", f"{kind}_{part}_model")
            if not str(inner["model_type"]).startswith(str(kind)):
                # A section of another family: neither program's function is certain.
                inner["model_type"] = f"{inner['model_type']} inside a {kind}"
        if kind in _POOLED_FIRST:
            general["pooler_output"] = "first"
        whole = {name: value for name, value in values.items() if not name.endswith("_config")}
        return _transformers(inner, part, where, general, whole)
    kind = _by_class(values) if kind is None else kind
    own = {name: value for name, value in values.items() if name != _CODE}
    return Description("transformers", kind, place, {**own, **general}, model=model or {})


def _general(values: Mapping[str, Any]) -> dict[str, Any]:
    """What holds for every section: code of the repository's own, tensors in packed form."""
    code = values.get(_CODE)
    runs = isinstance(code, Mapping) and any(str(name).startswith("AutoModel") for name in code)
    packed = values.get("quantization_config")
    return ({_CODE: code} if runs else {}) | ({"quantization_config": packed} if packed else {})


def _by_class(values: Mapping[str, Any]) -> str | None:
    """The kind by ``architectures``, for files from before ``model_type``."""
    classes = values.get("architectures")
    first = classes[0] if isinstance(classes, list) and classes else None
    known = {"CLIPText": "clip_text_model", "CLIPVision": "clip_vision_model"}
    for name, kind in known.items():
        if str(first).startswith(name):
            return kind
    # `BertForPreTraining` is of the kind `bert`, `GPT2LMHeadModel` of `gpt2`.
    plain = re.match(r"(Bert|GPT2)", str(first))
    return plain[1].lower() if plain else None


def open_clip_model(model: Mapping[str, Any], part: str, place: str) -> list[Description]:
    """One tower of open_clip's ``model_cfg``, with what holds for both."""
    key = f"{part}_cfg"
    values = {"quick_gelu": model.get("quick_gelu", False)} | mapping(model, key)
    kind = (
        "timm" if values.get("timm_model_name") else "hf" if values.get("hf_model_name") else "clip"
    )
    if part == "vision" and isinstance(values.get("layers"), list):
        kind = "resnet"
    if "multimodal_cfg" in model:
        kind = "coca"
    whole = {name: value for name, value in model.items() if not name.endswith("_cfg")}
    return [Description("open_clip", kind, f"{place}, model_cfg.{key}", values, model=whole)]


def _timm(values: Mapping[str, Any], part: str, place: str) -> list[Description]:
    if part != "vision":
        return [Description("timm", str(values["architecture"]), place, values)]
    record = mapping(values, "pretrained_cfg") or values
    return [
        Description("timm", str(values["architecture"]), place, values),
        *pictures("timm", record, part, f"{place}, pretrained_cfg"),
    ]
