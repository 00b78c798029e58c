"""EfficientNets under the names of the package EfficientNet-PyTorch, under timm's names instead.

Source: github.com/lukemelas/EfficientNet-PyTorch, whose names several packages of weights keep
(EfficientNet and EfficientNet-Lite, converted from TensorFlow). There the blocks are numbered
through; timm counts them by stage, and its normalisations from 1.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn

_TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2",
        "_fc": "classifier"}  # fmt: skip
_SQUEEZE = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
# A block of timm's that widens first (conv_pwl is its last convolution), and one that does not.
_WIDENING = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw",
             "_bn1": "bn2", "_project_conv": "conv_pwl", "_bn2": "bn3", **_SQUEEZE}  # fmt: skip
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2",
          **_SQUEEZE}  # fmt: skip
_BLOCK = re.compile(r"_blocks\.(\d+)\.(\w+)\.(\w+)")


def is_efficientnet_pytorch(names: Collection[str]) -> bool:
    """Whether tensors have the names of EfficientNet-PyTorch."""
    return "_conv_stem.weight" in names and "_conv_head.weight" in names


def to_timm_names(weights: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Tensors under timm's names.

    Args:
        weights: tensors by the names of EfficientNet-PyTorch.
        model: timm's model, which says how its blocks are grouped into stages.

    Returns:
        The same tensors. A name without a counterpart stays, so that it is reported as unknown.
    """
    stages: Any = getattr(model, "blocks", ())
    places = [
        (f"blocks.{stage}.{number}", _WIDENING if hasattr(block, "conv_pwl") else _PLAIN)
        for stage, blocks in enumerate(stages)
        for number, block in enumerate(blocks)
    ]
    return {_renamed(name, places): tensor for name, tensor in weights.items()}


def _renamed(name: str, places: list[tuple[str, dict[str, str]]]) -> str:
    match = _BLOCK.fullmatch(name)
    if match is None:
        part, _, rest = name.partition(".")
        return f"{_TOP[part]}.{rest}" if part in _TOP else name
    index, part, rest = int(match[1]), match[2], match[3]
    if index >= len(places) or part not in places[index][1]:
        return name
    place, names = places[index]
    return f"{place}.{names[part]}.{rest}"
