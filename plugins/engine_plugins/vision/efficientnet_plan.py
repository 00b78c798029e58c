"""The tensors of timm's EfficientNet-Lites, without building one. Nothing here imports torch.

Sources: Tan and Le, 2019, arXiv:1905.11946; the variants are those of
github.com/tensorflow/tpu, ``efficientnet/lite``; names as in timm's ``efficientnet.py``.
"""

from __future__ import annotations

import math
import re

from engine.contracts.plan import Plan, TowerPlan
from engine_plugins import plans

_LITE = re.compile(r"(?:tf_)?efficientnet_lite([0-4])")
_WIDER = (1.0, 1.0, 1.1, 1.2, 1.4)
_DEEPER = (1.0, 1.1, 1.2, 1.4, 1.8)
# Of a stage: blocks, side of its kernel, expansion, channels.
_STAGES = ((1, 3, 1, 16), (2, 3, 6, 24), (2, 5, 6, 40), (3, 3, 6, 80), (3, 5, 6, 112),
           (4, 5, 6, 192), (1, 3, 6, 320))  # fmt: skip
_STEM, _FEATURES = 32, 1280


def _channels(count: int, wider: float) -> int:
    """A multiple of 8 near ``count * wider``, never less than nine tenths of it."""
    wanted = count * wider
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def _convolution(name: str, norm: str, wide_in: int, wide_out: int, side: int = 1) -> Plan:
    return {
        **plans.tensor(f"{name}.weight", wide_out, wide_in, side, side),
        **plans.batch_norm(norm, wide_out),
    }


def _block(wide_in: int, wide_out: int, side: int, expansion: int) -> Plan:
    if expansion == 1:
        return {
            **_convolution("conv_dw", "bn1", 1, wide_in, side),
            **_convolution("conv_pw", "bn2", wide_in, wide_out),
        }
    hidden = wide_in * expansion
    return {
        **_convolution("conv_pw", "bn1", wide_in, hidden),
        **_convolution("conv_dw", "bn2", 1, hidden, side),
        **_convolution("conv_pwl", "bn3", hidden, wide_out),
    }


def efficientnet_plan(arch: str) -> TowerPlan | None:
    """The plan of an EfficientNet-Lite without its classifier, ``None`` for other models."""
    match = _LITE.fullmatch(arch)
    if match is None:
        return None
    wider, deeper = _WIDER[int(match[1])], _DEEPER[int(match[1])]
    tensors = _convolution("conv_stem", "bn1", 3, _STEM, 3)
    wide_in = _STEM
    for stage, (blocks, side, expansion, channels) in enumerate(_STAGES):
        wide_out = _channels(channels, wider)
        # The first and the last stage stay as deep as they are.
        depth = blocks if stage in (0, len(_STAGES) - 1) else math.ceil(blocks * deeper)
        for i in range(depth):
            block = _block(wide_in, wide_out, side, expansion)
            tensors |= plans.prefixed(f"blocks.{stage}.{i}", block)
            wide_in = wide_out
    tensors |= _convolution("conv_head", "bn2", wide_in, _FEATURES)
    return TowerPlan(_FEATURES, plans.prefixed("model", tensors))
