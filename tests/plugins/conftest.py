"""What the tests of several plugins share: parts as a config would make them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from engine.contracts import PluginRef
from engine.core.registry import default_registry


@pytest.fixture(scope="session")
def make_use() -> Callable[..., PluginRef]:
    """``make_use("text_encoder", "ruclip", width=64)``: a plugin with its validated settings."""

    def make(kind: str, name: str, /, **settings: Any) -> PluginRef:
        registry = default_registry()
        plugin = registry.get(kind, name)
        validate = plugin.load_settings().model_validate
        return PluginRef(plugin, validate(settings, context={"registry": registry}))

    return make


@pytest.fixture(scope="session")
def shaken() -> Callable[..., Any]:
    """``shaken(module, seed)``: the module in eval mode, none of its numbers at a special value.

    Biases start at 0, norms at 1 and 0: a tower that forgot one of them would pass unnoticed.
    """

    def shake(module: nn.Module, seed: int = 0) -> nn.Module:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for tensor in module.state_dict().values():
                if tensor.dtype.is_floating_point:
                    noise = torch.randn(tensor.shape, generator=generator)
                    # A running variance stays above 0.
                    tensor.add_(0.05 * noise.abs() if tensor.dim() == 1 else 0.02 * noise)
        return module.eval()

    return shake
