"""Settings small enough to test with. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from engine.contracts.hooks import Plugin
from engine.contracts.settings import PluginField, Settings
from engine.core.registry import default_registry
from engine.errors import EngineError

CHARACTERS = Plugin(
    "tokenizer",
    "characters_of_the_kit",
    "engine.testing.doubles:Characters",
    "engine.contracts.tokenizer:TokenizerSettings",
    "one id a character, for text encoders under test",
)

_SMALL = {
    "vocab_size": 61, "max_tokens": 12, "n_positions": 16, "max_positions": 16,
    "width": 32, "hidden_width": 32, "hidden_size": 32, "dim": 32, "embed_dim": 32,
    "embed_width": 24, "mlp_width": 64, "ff_width": 64,
    "layers": 2, "num_layers": 2, "n_layers": 2, "depth": 2,
    "heads": 4, "num_heads": 4, "n_heads": 4,
    "image_size": 32, "patch_size": 8, "count": 3,
}  # fmt: skip
"""Numbers for settings of the usual names, where the default is larger."""

_ALWAYS = ("vocab_size", "max_tokens", "count")
"""Those of them that may be changed without the others."""


class Overlay:
    """The installed plugins, with one more laid over them, and the kit's own doubles."""

    def __init__(self, plugin: Plugin | None) -> None:
        own = [CHARACTERS, *([plugin] if plugin else [])]
        self._own = {(one.kind, one.name): one for one in own}

    def get(self, kind: str, name: str) -> Plugin:
        """The plugin of this kind and name.

        Raises:
            PluginError: there is none.
        """
        own = self._own.get((kind, name))
        return default_registry().get(kind, name) if own is None else own

    def default(self, kind: str) -> str:
        """The name of the default of a kind: see ``engine.core.registry.Registry.default``."""
        return default_registry().default(kind)


class NoSettings(Exception):
    """The settings that were given, or guessed, do not validate; the message says why."""


def small_settings(
    kind: str, settings: type[Settings], given: Mapping[str, Any] | None, registry: Overlay
) -> Settings:
    """Validate the author's settings, or guess small ones.

    Raises:
        NoSettings: they do not validate.
    """
    filled = dict(_required(settings, given or {}))
    if given is not None:
        return _validated(settings, {**filled, **given}, registry)
    problem: NoSettings | None = None
    for config in _candidates(kind, settings, filled):
        try:
            return _validated(settings, config, registry)
        except NoSettings as error:
            problem = error
    assert problem is not None
    raise problem


def _candidates(
    kind: str, settings: type[Settings], filled: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    small: dict[str, Any] = {
        name: number
        for name, number in _SMALL.items()
        if name in settings.model_fields and name not in filled
        and isinstance(default := settings.model_fields[name].default, int) and default > number
    }  # fmt: skip
    if kind == "dataset" and "count" in settings.model_fields:
        small["count"] = 24
    yield {**filled, **small}
    yield {**filled, **{name: small[name] for name in _ALWAYS if name in small}}
    yield filled


def _required(settings: type[Settings], given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What the bases of the kinds require and the author left out."""
    for name, field in settings.model_fields.items():
        if not field.is_required() or name in given or field.alias in given:
            continue
        if any(
            isinstance(mark, PluginField) and mark.kind == "tokenizer" for mark in field.metadata
        ):
            yield name, {"use": CHARACTERS.name}
        elif name in _SMALL:
            yield name, _SMALL[name]


def _validated(settings: type[Settings], config: Mapping[str, Any], registry: Overlay) -> Settings:
    try:
        return settings.model_validate(dict(config), context={"registry": registry})
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, one['loc'])) or 'settings'}: {one['msg']}"
            for one in error.errors(include_url=False)
        ]
        raise NoSettings("\n".join(lines)) from error
    except EngineError as error:
        raise NoSettings(str(error)) from error
