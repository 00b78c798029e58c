"""Small configs whose towers take weights from a source."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engine.contracts.description import TextEnd
from engine.core.build import Origin, load_tower
from engine.core.config.schema import EngineConfig
from engine.core.making import make_model
from engine.core.model import DualEncoder
from engine.core.registry import default_registry

SMALL = {"width": 64, "layers": 2, "embed_width": 16, "quick_gelu": True}
VISION = {"use": "openai_clip", "image_size": 16, "patch_size": 8, "heads": 1, **SMALL}
TEXT = {"use": "openai_clip", "vocab_size": 60, "max_tokens": 12, "heads": 4, **SMALL}


def config(
    vision: dict[str, Any] | None = None, text: dict[str, Any] | None = None
) -> EngineConfig:
    """The small model with settings of each tower over its own."""
    model = {
        "embed_dim": 16,
        "vision": {**(VISION if (vision or {}).get("use") is None else {}), **(vision or {})},
        "text": {**(TEXT if (text or {}).get("use") is None else {}), **(text or {})},
        "projection": {"vision": {"use": "linear"}, "text": {"use": "linear"}},
    }
    data = {"engine": 1, "name": "small", "model": model}
    return EngineConfig.model_validate(data, context={"registry": default_registry()})


def load(
    settings: EngineConfig, side: str, end: TextEnd | None = None
) -> tuple[Origin, DualEncoder]:
    """Load one side from the source that its settings name."""
    model = make_model(settings)
    use = getattr(settings.model, side)
    return load_tower(getattr(model, side), use, side, lambda line: None, end), model.eval()


def shaken(module: Any, seed: int = 3) -> Any:
    """The same module, every number away from where it started."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.dtype.is_floating_point:
                tensor.add_(0.2 * torch.randn(tensor.shape, generator=generator))
    return module.eval()


def stored(module: Any) -> dict[str, Tensor]:
    """Its tensors, ready for safetensors."""
    return {name: tensor.clone().contiguous() for name, tensor in module.state_dict().items()}
