"""A package whose author forgot to name what it needs."""

from __future__ import annotations

import a_library_that_nobody_has  # type: ignore[import-not-found]

from engine.contracts.hooks import Plugin, hookimpl

ENGINE_API = "2.0"


@hookimpl
def engine_plugins() -> list[Plugin]:
    """Never reached."""
    return [a_library_that_nobody_has.plugin()]
