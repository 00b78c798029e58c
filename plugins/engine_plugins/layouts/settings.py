"""Settings of the built-in key layouts. Nothing here imports torch."""

from __future__ import annotations

from engine.contracts.settings import Settings


class LayoutSettings(Settings):
    """Nothing to set: a layout is what its program wrote."""
