"""RuBERT with low-rank adapters, and a loss over hidden states. Importing this stays light."""

from __future__ import annotations

from engine.contracts.hooks import Plugin, hookimpl

ENGINE_API = "2.0"


@hookimpl
def engine_plugins() -> list[Plugin]:
    """The plugins of this package."""
    return [
        Plugin(
            kind="text_encoder",
            name="lora_rubert",
            target="engine_lora.encoder:LoraBert",
            settings="engine_lora.settings:LoraBertSettings",
            summary="RuBERT whose attention has low-rank adapters",
        ),
        Plugin(
            kind="loss",
            name="same_relations",
            target="engine_lora.loss:SameRelations",
            settings="engine_lora.settings:SameRelationsSettings",
            summary="texts relate to each other as their images do",
        ),
    ]
