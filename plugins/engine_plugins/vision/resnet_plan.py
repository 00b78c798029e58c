"""The tensors of timm's ResNets, without building one. Nothing here imports torch or timm.

Source of the architecture: He et al., 2015, arXiv:1512.03385; names as in timm's ``resnet.py``.
"""

from __future__ import annotations

from engine.contracts.plan import Plan, TowerPlan
from engine_plugins import plans

_STAGE_WIDTHS = (64, 128, 256, 512)

# Blocks in each stage, and whether they are bottlenecks (1x1, 3x3, 1x1) or basic (3x3, 3x3).
_RESNETS = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
    "resnet152": ((3, 8, 36, 3), True),
}


def _conv(name: str, wide_in: int, wide_out: int, side: int) -> Plan:
    return plans.tensor(f"{name}.weight", wide_out, wide_in, side, side)


def resnet_plan(arch: str) -> TowerPlan | None:
    """The plan of one of the plain ResNets without its classifier, ``None`` for other models."""
    if arch not in _RESNETS:
        return None
    depths, bottleneck = _RESNETS[arch]
    tensors = _conv("conv1", 3, 64, 7) | plans.batch_norm("bn1", 64)
    wide_in = 64
    for stage, (depth, width) in enumerate(zip(depths, _STAGE_WIDTHS, strict=True), start=1):
        wide_out = 4 * width if bottleneck else width
        for i in range(depth):
            name = f"layer{stage}.{i}"
            if bottleneck:
                convs = [(wide_in, width, 1), (width, width, 3), (width, wide_out, 1)]
            else:
                convs = [(wide_in, width, 3), (width, wide_out, 3)]
            for number, (narrow, wide, side) in enumerate(convs, start=1):
                tensors |= _conv(f"{name}.conv{number}", narrow, wide, side)
                tensors |= plans.batch_norm(f"{name}.bn{number}", wide)
            if i == 0 and (stage > 1 or wide_in != wide_out):
                tensors |= _conv(f"{name}.downsample.0", wide_in, wide_out, 1)
                tensors |= plans.batch_norm(f"{name}.downsample.1", wide_out)
            wide_in = wide_out
    return TowerPlan(wide_in, plans.prefixed("model", tensors))
