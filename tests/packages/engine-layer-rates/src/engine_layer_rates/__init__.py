"""Registers the optimizer `layer_rates`."""

from __future__ import annotations

from engine.contracts.hooks import Plugin, hookimpl

ENGINE_API = "2.0"


@hookimpl
def engine_plugins() -> list[Plugin]:
    """What this package offers."""
    return [
        Plugin(
            kind="optimizer",
            name="layer_rates",
            target="engine_layer_rates.optimizer:LayerRates",
            settings="engine_layer_rates.settings:LayerRatesSettings",
            summary="AdamW with lower learning rates for the early segments of a tower",
        )
    ]
