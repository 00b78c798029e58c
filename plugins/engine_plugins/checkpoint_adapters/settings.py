"""Settings of the built-in checkpoint adapters. Nothing here imports torch."""

from __future__ import annotations

from engine.contracts.settings import Settings


class AdapterSettings(Settings):
    """Nothing to set: a layout is what its program wrote."""
