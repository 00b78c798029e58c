"""The record of a plugin, and how its classes are imported."""

from __future__ import annotations

import re

import pytest

from engine.contracts import KINDS, DatasetSettings, Settings
from engine.contracts.hooks import Plugin
from engine.errors import PluginError


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (("text_encodr", "x", "a:B"), "unknown kind `text_encodr`"),
        (("dataset", "x", "a.B"), "target `a.B` is not `module:Class`"),
        (("dataset", "x", "a:B:C"), "target `a:B:C` is not `module:Class`"),
        (("dataset", "x", "a:B", "settings"), "settings `settings` is not `module:Class`"),
    ],
)
def test_a_record_that_cannot_be(fields: tuple[str, ...], words: str) -> None:
    with pytest.raises(PluginError, match=re.escape(words)):
        Plugin(*fields)


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    plugin = Plugin("dataset", "x", "no.such.module:Class", "neither.this:Class")
    assert plugin.load_settings.__name__ == "load_settings"
    with pytest.raises(PluginError, match=r"dataset `x`: cannot import no\.such\.module:Class"):
        plugin.load()
    with pytest.raises(PluginError, match="ModuleNotFoundError"):
        plugin.load_settings()


def test_what_a_name_leads_to() -> None:
    good = Plugin("dataset", "x", "engine.contracts.settings:PluginRef")
    assert good.load().__name__ == "PluginRef"
    assert good.load_settings() is DatasetSettings
    with pytest.raises(PluginError, match="is not a class"):
        Plugin("dataset", "x", "engine.contracts.kinds:KINDS").load()
    with pytest.raises(PluginError, match="AttributeError"):
        Plugin("dataset", "x", "engine.contracts.settings:Nothing").load()
    with pytest.raises(PluginError, match="does not derive from"):
        Plugin("dataset", "x", "a:B", "engine.contracts.settings:PluginRef").load_settings()


@pytest.mark.parametrize("kind", KINDS)
def test_settings_derive_from_the_base_of_their_kind(kind: str) -> None:
    base = KINDS[kind].load_settings_base()
    assert issubclass(base, Settings)
    assert Plugin(kind, "x", "a:B").load_settings() is base
    module, name = base.__module__, base.__name__
    assert Plugin(kind, "x", "a:B", f"{module}:{name}").load_settings() is base
    if base is not Settings:
        with pytest.raises(PluginError, match=rf"does not derive from engine\.contracts\.{name}"):
            Plugin(kind, "x", "a:B", "engine.contracts.settings:Settings").load_settings()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_contract_and_a_description(kind: str) -> None:
    assert isinstance(KINDS[kind].load_contract(), type)
    assert KINDS[kind].description
