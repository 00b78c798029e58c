"""A text encoder of convolutions. Every `engine` command imports this, so it stays light."""

from __future__ import annotations

from engine.contracts.hooks import Plugin, hookimpl

ENGINE_API = "2.0"


@hookimpl
def engine_plugins() -> list[Plugin]:
    """The one plugin of this package."""
    return [
        Plugin(
            kind="text_encoder",
            name="conv_text",
            target="engine_conv_text.encoder:ConvText",
            settings="engine_conv_text.settings:ConvTextSettings",
            summary="convolutions over the tokens, and the largest number of each channel",
        )
    ]
