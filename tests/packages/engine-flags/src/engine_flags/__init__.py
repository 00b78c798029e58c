"""Flags with Russian names. Every `engine` command imports this, so it stays light."""

from __future__ import annotations

from engine.contracts.hooks import Plugin, hookimpl

ENGINE_API = "2.0"


@hookimpl
def engine_plugins() -> list[Plugin]:
    """The one plugin of this package."""
    return [
        Plugin(
            kind="dataset",
            name="flags",
            target="engine_flags.dataset:Flags",
            settings="engine_flags.settings:FlagsSettings",
            summary="striped flags of countries with Russian names, drawn on the fly",
        )
    ]
