"""A package that is written for another plugin API of Engine; what it imports is not there."""

from __future__ import annotations

from engine.contracts.hooks import Recipe, hookimpl  # type: ignore[attr-defined]

ENGINE_API = "7.2"


@hookimpl
def engine_plugins() -> list[Recipe]:
    """Never reached."""
    return [Recipe("text_encoder", "of_tomorrow")]
