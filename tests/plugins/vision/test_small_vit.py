"""`small_vit` against its formula, written with PyTorch's own layers; its settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from engine.contracts import PluginRef
from engine_plugins.vision.small_vit import SmallVit

MakeUse = Callable[..., PluginRef]


@pytest.mark.parametrize(
    "numbers",
    [
        {"image_size": 32, "convolutions": 3, "width": 24, "layers": 2, "heads": 3},
        {"image_size": 12, "convolutions": 2, "width": 8, "layers": 1, "heads": 1, "mlp_ratio": 2},
    ],
)
@torch.no_grad()
def test_it_is_convolutions_then_transformer_layers_then_the_mean(
    numbers: dict[str, Any], make_use: MakeUse, shaken: Callable[..., Any]
) -> None:
    torch.manual_seed(0)
    use = make_use("vision_tower", "small_vit", **numbers)
    tower: SmallVit = shaken(use.create())
    pixels = torch.randn(3, 3, numbers["image_size"], numbers["image_size"])
    x = pixels
    for i in range(numbers["convolutions"]):
        conv, norm = tower.stem[i].conv, tower.stem[i].norm
        x = functional.conv2d(x, conv.weight, stride=2, padding=1)
        # A layer norm over channels and places of each picture alone.
        x = functional.layer_norm(x, x.shape[1:])
        x = functional.relu(x * norm.weight[:, None, None] + norm.bias[:, None, None])
    x = x.flatten(2).transpose(1, 2) + tower.positional_embedding
    width = numbers["width"]
    for block in tower.blocks:
        mlp_width = int(width * numbers.get("mlp_ratio", 4))
        layer = nn.TransformerEncoderLayer(
            width, numbers["heads"], mlp_width, dropout=0.0, activation="gelu", batch_first=True,
            norm_first=True,
        )  # fmt: skip
        weights = block.state_dict()
        theirs = {
            "ln_1": "norm1", "ln_2": "norm2", "attn": "self_attn", "mlp.c_fc": "linear1",
            "mlp.c_proj": "linear2",
        }  # fmt: skip
        renamed = {}
        for name, tensor in weights.items():
            own = next(start for start in theirs if name.startswith(f"{start}."))
            renamed[theirs[own] + name[len(own) :]] = tensor
        layer.load_state_dict(renamed)
        x = layer(x)
    expected = functional.layer_norm(x, (width,), tower.norm.weight, tower.norm.bias).mean(dim=1)
    found = tower({"pixels": pixels})["pooled"]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert found.std(dim=0).max() > 1e-3


def test_channels_double_up_to_the_width(make_use: MakeUse) -> None:
    settings: Any = make_use("vision_tower", "small_vit", width=128, convolutions=4).settings
    assert settings.channels == [16, 32, 64, 128]
    assert settings.places == (64 // 16) ** 2
    narrow: Any = make_use("vision_tower", "small_vit", width=2, heads=1, convolutions=4).settings
    assert narrow.channels == [1, 1, 1, 2]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"image_size": 30}, "cannot be halved 4 times: expected a multiple of 16"),
        ({"width": 130}, "width 130 is not a multiple of heads 4"),
        ({"convolutions": 0}, "convolutions"),
        ({"std": (1.0, 1.0, -1.0)}, "a standard deviation must be above 0"),
        ({"patch_size": 8}, "patch_size"),
    ],
)
def test_bad_settings_are_reported(
    numbers: dict[str, Any], message: str, make_use: MakeUse
) -> None:
    with pytest.raises(ValueError, match="validation error") as caught:
        make_use("vision_tower", "small_vit", **numbers)
    assert message in str(caught.value)
