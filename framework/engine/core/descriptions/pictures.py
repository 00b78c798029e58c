"""How other programs prepare a picture, compared with a vision tower's :class:`SquarePreprocess`.

Every difference is a warning: a model still answers for a picture that is cut or scaled a little
differently, only somewhat worse, and some configs differ from the source on purpose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine.contracts.description import (
    ABSENT,
    Description,
    Difference,
    Fact,
    Same,
    Table,
    compare,
    equal,
    same_square,
)
from engine.contracts.preprocess import Preprocess, SquarePreprocess

PICTURES = " pictures"
"""Ends the ``program`` of a description of pictures: ``"transformers pictures"``."""

_RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
_HALF = (0.5, 0.5, 0.5)
_CLIP = SquarePreprocess(224)  # whose defaults are CLIP's


def picture_kind(values: Mapping[str, Any]) -> str | None:
    """transformers' class that prepares the picture, under today's name; ``None``: not given."""
    kind = values.get("image_processor_type", values.get("feature_extractor_type"))
    if not isinstance(kind, str):
        return None
    return kind.removesuffix("Fast").removesuffix("Pil").replace(
        "FeatureExtractor", "ImageProcessor")  # fmt: skip


def picture_differences(preprocess: Preprocess, description: Description) -> list[Difference]:
    """What a description of pictures says and ``preprocess`` does not do; warnings all of them."""
    if not isinstance(preprocess, SquarePreprocess):
        own = type(preprocess).__qualname__
        message = (
            f"{description.place} says how pictures are prepared; the tower prepares them in its"
            f" own way ({own}), so the two were not compared"
        )
        return [Difference(message, refuse=False)]
    if description.program.startswith("transformers") and description.kind is None:
        # Which class prepares the picture is not said, so an absent key has no known default.
        description = replace(description, defaults=False)
    return compare(preprocess, _TABLES, description)


def _fact(key: str, attribute: str, default: Any = ABSENT, same: Same = equal) -> Fact:
    return Fact(key, lambda p: getattr(p, attribute), default=default, same=same, refuse=False)


def _fixed(key: str, value: Any, default: Any = ABSENT, note: str = "") -> Fact:
    return Fact(key, lambda p: value, default=default, refuse=False, note=note)


def _same_side(theirs: Any, side: Any) -> bool:
    """``224``, ``[224, 224]``, ``[3, 224, 224]``, ``{"height": 224, "width": 224}`` ..."""
    if isinstance(theirs, Mapping):
        return all(equal(value, side) for value in theirs.values())
    if isinstance(theirs, (list, tuple)) and len(theirs) == 3:
        theirs = theirs[1:]
    return same_square(theirs, side)


def _same_resize(theirs: Any, resize: Any) -> bool:
    """Whether the size names both sides (proportions change), or the shorter one."""
    if isinstance(theirs, Mapping):
        return bool(("height" in theirs) == (resize == "squash"))
    if not isinstance(theirs, str):
        return True  # a number: which of the two follows from the program's class
    return bool(theirs == "squash" if resize == "squash" else theirs in ("shortest", "center"))


def _same_filter(theirs: Any, interpolation: Any) -> bool:
    named = _RESAMPLING.get(theirs) if isinstance(theirs, int) else theirs
    return bool(named == interpolation)


def _is_cut(theirs: Any, resize: Any) -> bool:
    """Where the proportions are kept, the centre must be cut out for the picture to be square."""
    return bool(theirs) or resize == "squash"


def _transformers(
    kinds: tuple[str, ...], mean: Any, std: Any, resample: Any, size: Any, crop: Any
) -> Table:
    facts = (
        _fact("image_mean", "mean", mean),
        _fact("image_std", "std", std),
        _fact("resample", "interpolation", resample, _same_filter),
        _fact("size", "size", size, _same_side),
        _fact("size", "resize", size, _same_resize),
        _fact("crop_size", "size", crop, _same_side),
        _fact(
            "do_center_crop", "resize", ABSENT if size is ABSENT else crop is not ABSENT, _is_cut
        ),
        _fixed("do_resize", True),
        _fixed("do_rescale", True),
        _fixed("do_normalize", True),
        _fixed("rescale_factor", 1 / 255),
        _fact("crop_pct", "crop_pct"),
    )
    return Table(f"transformers{PICTURES}", kinds, facts, strict=False)


_TABLES = (
    _transformers(("CLIPImageProcessor", "ChineseCLIPImageProcessor"), _CLIP.mean,
                  _CLIP.std, 3, {"shortest_edge": 224}, 224),
    _transformers(("ViTImageProcessor", "DeiTImageProcessor"), _HALF, _HALF, ABSENT,
                  ABSENT, ABSENT),
    _transformers((), ABSENT, ABSENT, ABSENT, ABSENT, ABSENT),
    Table(f"open_clip{PICTURES}", (), (
        _fact("mean", "mean", _CLIP.mean),
        _fact("std", "std", _CLIP.std),
        _fact("interpolation", "interpolation", "bicubic", _same_filter),
        _fact("resize_mode", "resize", "shortest", _same_resize),
        _fact("size", "size", same=_same_side),
        _fixed("mode", "RGB"),
    ), strict=False),
    Table(f"timm{PICTURES}", (), (
        _fact("mean", "mean", SquarePreprocess.IMAGENET_MEAN),
        _fact("std", "std", SquarePreprocess.IMAGENET_STD),
        _fact("interpolation", "interpolation", "bicubic", _same_filter),
        _fact("crop_mode", "resize", "center", _same_resize),
        _fact("input_size", "size", same=_same_side),
        _fact("crop_pct", "crop_pct", 0.875),
    ), strict=False),
)  # fmt: skip
