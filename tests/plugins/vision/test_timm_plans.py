"""Plans of timm's models, against timm's own modules on the meta device."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch

from engine.contracts import PluginRef
from engine.core.size import plan_of_module
from engine_plugins.vision.timm_plans import timm_plan

MakeUse = Callable[..., PluginRef]
SIGLIP = [m for m in timm.list_models("vit_*_siglip_*") if "gap" not in m]
LITE = timm.list_models("tf_efficientnet_lite*")
FAST = ["fastvit_mci0", "fastvit_mci1", "fastvit_mci2"]


@pytest.mark.parametrize(
    ("arch", "size"),
    [
        *((arch, None) for arch in FAST),
        ("fastvit_mci0", 192),
        *((arch, None) for arch in LITE),
        ("efficientnet_lite0", 64),
        ("vit_base_patch16_siglip_256", None),
        ("vit_base_patch32_siglip_256", 96),
        *(pytest.param(arch, None, marks=pytest.mark.slow) for arch in SIGLIP),
    ],
)
def test_a_plan_is_timms_module(arch: str, size: int | None, make_use: MakeUse) -> None:
    use = make_use("vision_tower", "timm", arch=arch, image_size=size)
    with torch.device("meta"):
        tower = use.create()
    plan = use.settings.plan()
    assert plan is not None
    assert plan.tensors == plan_of_module(tower)
    assert plan.width == tower.width


def test_every_siglip_of_timm_has_a_plan() -> None:
    assert len(SIGLIP) > 10
    assert len(LITE) == 5
    assert all(timm_plan(arch, None) for arch in SIGLIP)
    assert timm_plan("convnext_tiny", None) is None
    assert timm_plan("vit_base_patch16_siglip_gap_256", None) is None
