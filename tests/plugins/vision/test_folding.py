"""Batch norms folded into convolutions: the same function, with the bytes that the plan says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from engine.contracts import PluginRef
from engine.core.size import plan_of_module
from engine.errors import ConfigError, WeightsError
from engine_plugins.vision.folded_plans import norm_eps
from engine_plugins.vision.folding import folded_tensors, unfolded_tensors
from engine_plugins.vision.timm import TimmVision

MakeUse = Callable[..., PluginRef]
ARCHS = [
    "resnet18", "resnet50", "test_resnet", "efficientnet_lite0", "tf_efficientnet_lite0",
    "efficientnet_b0", "tf_efficientnet_b0", "mobilenetv2_050",
]  # fmt: skip


def tower(make_use: MakeUse, arch: str, **more: Any) -> TimmVision:
    made: TimmVision = make_use("vision_tower", "timm", arch=arch, image_size=64, **more).create()
    return made.eval()


def trained(arch: str) -> nn.Module:
    """timm's model with batch norms that do something."""
    torch.manual_seed(1)
    model = timm.create_model(arch, pretrained=False, num_classes=0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            with torch.no_grad():
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        model.train()(torch.randn(4, 3, 64, 64))
    model.eval()
    return model


def pooled(model: TimmVision, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        found = model.run({"pixels": pixels}, 0, len(model.segments()))
    return found["pooled"]


@pytest.mark.parametrize("arch", ARCHS)
def test_folded_is_the_same_function(arch: str, make_use: MakeUse) -> None:
    model = trained(arch)
    folded = tower(make_use, arch, fold_norms=True)
    # In the order of a safetensors file, which is not that of the modules.
    folded.load_weights(dict(sorted(model.state_dict().items())), "timm")
    pixels = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        expected = model(pixels)
    # Random weights let roundings grow from layer to layer.
    assert (pooled(folded, pixels) - expected).norm() < 1e-4 * expected.norm()
    assert folded.mixes_rows is False
    assert not any("running" in name for name in folded.state_dict())


@pytest.mark.parametrize("arch", ["resnet50", "test_resnet", "tf_efficientnet_lite0"])
def test_the_plan_is_the_folded_module(arch: str, make_use: MakeUse) -> None:
    use = make_use("vision_tower", "timm", arch=arch, fold_norms=True)
    with torch.device("meta"):
        made = use.create()
    plan = use.settings.plan()
    assert plan.tensors == plan_of_module(made)
    assert use.settings.foldable_norms is None


def test_unfolded_and_folded_again_is_what_it_was(make_use: MakeUse) -> None:
    """For programs that know timm's own model alone: batch norms that only add the biases."""
    folded = tower(make_use, "test_resnet", fold_norms=True)
    folded.load_weights(trained("test_resnet").state_dict(), "timm")
    own = folded.model.state_dict()
    found = unfolded_tensors(own, folded.model, 1e-5)
    plain = timm.create_model("test_resnet", num_classes=0).eval()
    plain.load_state_dict(found)
    pixels = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(plain(pixels), folded.model(pixels), rtol=1e-4, atol=1e-5)
    order = {name: found[name] for name in plain.state_dict()}
    again = folded_tensors(order, 1e-5)
    assert again.keys() == own.keys()
    for name, tensor in own.items():
        torch.testing.assert_close(again[name], tensor)


@pytest.mark.parametrize("arch", [a for a in timm.list_models() if norm_eps(a) is not None])
def test_eps_is_that_of_timm_where_a_name_says_foldable(arch: str) -> None:
    eps = norm_eps(arch)
    with torch.device("meta"):
        model = timm.create_model(arch, pretrained=False)
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert {norm.eps for norm in norms} == {eps}


@pytest.mark.parametrize("arch", ["vit_tiny_patch16_224", "convnext_tiny", "fastvit_mci0"])
def test_other_models_are_refused(arch: str, make_use: MakeUse) -> None:
    use = make_use("vision_tower", "timm", arch=arch, fold_norms=True)
    assert use.settings.foldable_norms is None
    with pytest.raises(ConfigError, match="no batch norms that can be folded"):
        use.create()


def test_a_bias_of_the_convolution_is_folded_too() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    with torch.no_grad():
        model[1].running_mean.normal_()  # type: ignore[union-attr]
        model[1].weight.normal_()
    found = folded_tensors(model.state_dict(), 1e-5)
    pixels = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        own = torch.conv2d(pixels, found["0.weight"], found["0.bias"])
        torch.testing.assert_close(own + found["1.bias"][:, None, None], model(pixels))


def test_a_norm_without_a_convolution() -> None:
    with pytest.raises(WeightsError, match="no convolution of its channels"):
        folded_tensors(nn.Sequential(nn.BatchNorm2d(4)).state_dict(), 1e-5)
