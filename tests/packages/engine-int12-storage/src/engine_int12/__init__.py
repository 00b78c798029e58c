"""Twelve bits a number. Every `engine` command imports this, so it stays light."""

from __future__ import annotations

from engine.contracts.hooks import Plugin, hookimpl

ENGINE_API = "2.0"


@hookimpl
def engine_plugins() -> list[Plugin]:
    """The one plugin of this package."""
    return [
        Plugin(
            kind="storage",
            name="int12",
            target="engine_int12.storage:Int12",
            settings="engine_int12.settings:Int12Settings",
            summary="two numbers in three bytes, and one float32 scale for each block of numbers",
        )
    ]
