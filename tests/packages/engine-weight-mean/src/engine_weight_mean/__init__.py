"""Registers the callback `weight_mean`."""

from __future__ import annotations

from engine.contracts.hooks import Plugin, hookimpl

ENGINE_API = "2.0"


@hookimpl
def engine_plugins() -> list[Plugin]:
    """What this package offers."""
    return [
        Plugin(
            kind="callback",
            name="weight_mean",
            target="engine_weight_mean.callback:WeightMean",
            settings="engine_weight_mean.settings:WeightMeanSettings",
            summary="the mean of the weights from a step on, evaluated and kept as the model",
        )
    ]
