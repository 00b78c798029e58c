"""A package whose loss has the name of a built-in one."""

from __future__ import annotations

from engine.contracts.hooks import Plugin, hookimpl

ENGINE_API = "2.0"


@hookimpl
def engine_plugins() -> list[Plugin]:
    """A name that is taken, and one that is free."""
    return [
        Plugin(
            kind="loss",
            name="sigmoid",
            target="engine_name_clash:Never",
            summary="a name that is taken",
        ),
        Plugin(
            kind="logger",
            name="quiet",
            target="engine_name_clash.quiet:Quiet",
            settings="engine.contracts:LoggerSettings",
            summary="writes nothing at all",
        ),
    ]
