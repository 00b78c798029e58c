"""The tensors of timm's ResNets, without building one. Nothing here imports torch or timm.

Source of the architecture: He et al., 2015, arXiv:1512.03385; names as in timm's ``resnet.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.contracts.plan import Plan, TowerPlan
from engine_plugins import plans


@dataclass(frozen=True)
class _ResNet:
    """A ResNet of four stages.

    Attributes:
        depths: blocks of each stage.
        bottleneck: whether a stage's blocks are bottlenecks (1x1, 3x3, 1x1, four times as wide) or
            basic (3x3, 3x3).
        widths: of each stage.
        deep_stem: width of a stem of three 3x3 convolutions; ``None`` for one of 7x7.
        pooled_shortcut: a shortcut that changes shape averages before its convolution.
    """

    depths: tuple[int, int, int, int]
    bottleneck: tuple[bool, bool, bool, bool]
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    deep_stem: int | None = None
    pooled_shortcut: bool = False


_BASIC, _BOTTLENECK = (False,) * 4, (True,) * 4
_RESNETS = {
    "resnet18": _ResNet((2, 2, 2, 2), _BASIC),
    "resnet34": _ResNet((3, 4, 6, 3), _BASIC),
    "resnet50": _ResNet((3, 4, 6, 3), _BOTTLENECK),
    "resnet101": _ResNet((3, 4, 23, 3), _BOTTLENECK),
    "resnet152": _ResNet((3, 8, 36, 3), _BOTTLENECK),
    # timm's model for tests, small enough to be trained on a laptop.
    "test_resnet": _ResNet(
        (1, 1, 1, 1), (False, False, True, False), (32, 48, 48, 96), 16, pooled_shortcut=True
    ),
}


def _conv(name: str, wide_in: int, wide_out: int, side: int) -> Plan:
    return plans.tensor(f"{name}.weight", wide_out, wide_in, side, side)


def _stem(model: _ResNet, width: int) -> Plan:
    if model.deep_stem is None:
        return _conv("conv1", 3, width, 7) | plans.batch_norm("bn1", width)
    narrow = model.deep_stem
    return {
        **_conv("conv1.0", 3, narrow, 3), **plans.batch_norm("conv1.1", narrow),
        **_conv("conv1.3", narrow, narrow, 3), **plans.batch_norm("conv1.4", narrow),
        **_conv("conv1.6", narrow, width, 3), **plans.batch_norm("bn1", width),
    }  # fmt: skip


def _block(name: str, wide_in: int, width: int, wide_out: int, *, bottleneck: bool) -> Plan:
    if bottleneck:
        convs = [(wide_in, width, 1), (width, width, 3), (width, wide_out, 1)]
    else:
        convs = [(wide_in, width, 3), (width, wide_out, 3)]
    tensors: Plan = {}
    for number, (narrow, wide, side) in enumerate(convs, start=1):
        tensors |= _conv(f"{name}.conv{number}", narrow, wide, side)
        tensors |= plans.batch_norm(f"{name}.bn{number}", wide)
    return tensors


def resnet_plan(arch: str) -> TowerPlan | None:
    """The plan of one of the plain ResNets without its classifier, ``None`` for other models."""
    model = _RESNETS.get(arch)
    if model is None:
        return None
    wide_in = 64 if model.deep_stem is None else 2 * model.deep_stem
    tensors = _stem(model, wide_in)
    shortcut = 1 if model.pooled_shortcut else 0  # place of its convolution in timm's Sequential
    for stage, (depth, bottleneck, width) in enumerate(
        zip(model.depths, model.bottleneck, model.widths, strict=True), start=1
    ):
        wide_out = 4 * width if bottleneck else width
        for i in range(depth):
            name = f"layer{stage}.{i}"
            tensors |= _block(name, wide_in, width, wide_out, bottleneck=bottleneck)
            if i == 0 and (stage > 1 or wide_in != wide_out):
                tensors |= _conv(f"{name}.downsample.{shortcut}", wide_in, wide_out, 1)
                tensors |= plans.batch_norm(f"{name}.downsample.{shortcut + 1}", wide_out)
            wide_in = wide_out
    return TowerPlan(wide_in, plans.prefixed("model", tensors))
