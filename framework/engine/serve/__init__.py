"""Serve: a model over HTTP, with OpenAI's embeddings, zero-shot classes, search and a page.

``engine serve`` calls it; it computes with ``engine.evaluate`` and searches with ``engine.search``.
Start reading in ``app.py`` (routes and what guards them), then ``encoder.py`` (batches).

Names are imported on first use: processes that decode pictures import this package too.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.serve.app import make_app
    from engine.serve.running import serve
    from engine.serve.settings import ServeSettings

_HOME = {"ServeSettings": "settings", "make_app": "app", "serve": "running"}
__all__ = ["ServeSettings", "make_app", "serve"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
