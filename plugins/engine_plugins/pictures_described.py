"""How other programs prepare a picture, as the settings of a vision tower. Imports no torch.

What has no counterpart here (a filter that Engine lacks, a margin that is cut off) is left out:
``engine import`` holds the tower against the same description afterwards, and refuses it by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.contracts.description import Description

_PICTURES = " pictures"
_FILTERS = {2: "bilinear", 3: "bicubic", "bilinear": "bilinear", "bicubic": "bicubic"}
_SQUASHED = ("SiglipImageProcessor", "ViTImageProcessor", "DeiTImageProcessor")
"""Classes of transformers to which one number as ``size`` means both sides."""
_NAMED = {"shortest": "shorter_side", "squash": "squash"}
_HALF = (0.5, 0.5, 0.5)


def picture_settings(program: str, aside: Sequence[Description]) -> dict[str, Any]:
    """``mean``, ``std``, ``resize``, ``interpolation`` and, where it is said, ``image_size``.

    Args:
        program: ``"transformers"`` or ``"open_clip"``; other descriptions are of other models.
        aside: what lies beside the tower's own description.

    Raises:
        ValueError: the picture would not be square.
    """
    own = [one for one in aside if one.program == program + _PICTURES]
    if not own:
        return {}
    one = own[0]
    return _transformers(one) if program == "transformers" else _open_clip(one)


def _transformers(description: Description) -> dict[str, Any]:
    values, kind = description.values, description.kind or ""
    half = kind in _SQUASHED
    found: dict[str, Any] = {
        "mean": values.get("image_mean") or (_HALF if half else None),
        "std": values.get("image_std") or (_HALF if half else None),
        "interpolation": _FILTERS.get(values.get("resample", 2 if kind in _SQUASHED[1:] else 3)),
    }
    size, crop = values.get("size"), values.get("crop_size")
    squash = ("height" in size) if isinstance(size, Mapping) else half and size is not None
    if size is not None or half:
        found["resize"] = "squash" if squash else "shorter_side"
    cut = crop is not None and values.get("do_center_crop", True) and not squash
    side = _side(crop if cut else size, description.place)
    if side is not None:
        found["image_size"] = side
    return {key: value for key, value in found.items() if value is not None}


def _open_clip(description: Description) -> dict[str, Any]:
    values = description.values
    found = {
        "mean": values.get("mean"),
        "std": values.get("std"),
        "interpolation": _FILTERS.get(values.get("interpolation", "bicubic")),
        "resize": _NAMED.get(values.get("resize_mode", "shortest")),
    }
    return {key: value for key, value in found.items() if value is not None}


def _side(value: Any, place: str) -> int | None:
    """One side of ``224``, ``{"shortest_edge": 224}``, ``{"height": 224, "width": 224}``."""
    if isinstance(value, Mapping):
        sides = {side for side in value.values() if isinstance(side, int)}
        if len(sides) > 1:
            raise ValueError(f"`size` is {dict(value)} in {place}; Engine's pictures are square")
        return sides.pop() if sides else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
