"""Engine: a YAML config becomes an image-text model, every part of it a registered plugin.

    import engine

    model = engine.load("build/clip_openai")
    model.classify(images, ["кошка", "собака"])

Names are imported on first use, so that ``import engine`` stays fast and never imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from engine.version import __version__

if TYPE_CHECKING:
    from engine.contracts.hooks import Plugin, hookimpl
    from engine.core.config import load_config
    from engine.evaluate import load

_HOME = {
    "load": "engine.evaluate",
    "load_config": "engine.core.config",
    "Plugin": "engine.contracts.hooks",
    "hookimpl": "engine.contracts.hooks",
}
__all__ = ["Plugin", "__version__", "hookimpl", "load", "load_config"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
