"""The record of a plugin, and how its classes are imported."""

from __future__ import annotations

import re

import pytest

from engine.contracts.hooks import Plugin
from engine.contracts.settings import Settings
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
    assert good.load_settings() is Settings
    with pytest.raises(PluginError, match="is not a class"):
        Plugin("dataset", "x", "engine.contracts.settings:KINDS").load()
    with pytest.raises(PluginError, match="AttributeError"):
        Plugin("dataset", "x", "engine.contracts.settings:Nothing").load()
    with pytest.raises(PluginError, match="does not derive from"):
        Plugin("dataset", "x", "a:B", "engine.contracts.settings:PluginRef").load_settings()
