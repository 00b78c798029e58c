"""A vision tower with its own preprocessing. Every `engine` command imports this light module."""

from __future__ import annotations

from engine.contracts.hooks import Plugin, hookimpl

ENGINE_API = "2.0"


@hookimpl
def engine_plugins() -> list[Plugin]:
    """The one plugin of this package."""
    return [
        Plugin(
            kind="vision_tower",
            name="grey_patches",
            target="engine_letterbox.tower:GreyPatches",
            settings="engine_letterbox.settings:GreyPatchesSettings",
            summary="patches of the whole picture in grey, mixed by small layers",
        )
    ]
