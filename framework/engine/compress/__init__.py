"""Compression: a model under a limit on its bytes, with the smallest measured loss.

``engine fit`` and ``engine trim`` call it. Start reading in ``fit.py``: lossless steps first
(``steps.py``), then a storage for each tensor, chosen (``frontier.py``) by the loss that each
choice has (``losses.py``) on a calibration set (``calibration.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.compress.answer import FittedModel
    from engine.compress.fit import fit
    from engine.compress.steps import compressed, planned_steps
    from engine.compress.trim import trim

_HOMES = {
    "FittedModel": "answer",
    "compressed": "steps",
    "fit": "fit",
    "planned_steps": "steps",
    "trim": "trim",
}

__all__ = ["FittedModel", "compressed", "fit", "planned_steps", "trim"]


def __getattr__(name: str) -> Any:  # planning imports no torch
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
