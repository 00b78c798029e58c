"""Registers `engine hello` and the group `engine count`."""

from __future__ import annotations

from engine.contracts.hooks import Plugin, hookimpl

ENGINE_API = "2.0"


@hookimpl
def engine_plugins() -> list[Plugin]:
    """One command and one group of commands."""
    return [
        Plugin("command", "hello", "engine_hello.commands:Hello", summary="Greet somebody."),
        Plugin("command", "count", "engine_hello.commands:Count", summary="Count what there is."),
    ]
