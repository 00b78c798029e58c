"""What will go away: reported once, with what to use instead."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import typer
from pydantic import Field
from rich.console import Console
from typer.testing import CliRunner

import engine.core.registry as registry_module
from engine.cli import plugins
from engine.contracts import ProjectionRef, Settings, deprecation
from engine.contracts.deprecation import EngineDeprecation, renamed, warn_once
from engine.contracts.hooks import API_VERSION, Plugin, hookimpl
from engine.contracts.projection_settings import ProjectionSettings


@pytest.fixture(autouse=True)
def nothing_was_warned_about(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(deprecation, "_warned", set())
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        yield


class Whole(Settings):
    """A config with a projection."""

    projection: ProjectionRef


class Narrow(ProjectionSettings):
    """A plugin's settings, one of them under an old name."""

    wide: int | None = Field(None, deprecated="use `width` instead")
    width: int = 3


class Registry:
    """Two plugins, one of them deprecated."""

    def get(self, kind: str, name: str) -> Plugin:
        here = f"{__name__}:Narrow"
        instead = "use `new` instead" if name == "old" else ""
        plugin = Plugin(kind, name, here, here, deprecated=instead)
        object.__setattr__(plugin, "load_settings", lambda: Narrow)
        return plugin


def validate(**projection: object) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Whole.model_validate({"projection": projection}, context={"registry": Registry()})
    return [str(one.message) for one in caught if one.category is EngineDeprecation]


def test_a_config_that_uses_a_deprecated_plugin_is_reported_once() -> None:
    assert validate(use="new") == []
    assert validate(use="old") == ["projection `old` is deprecated: use `new` instead"]
    assert validate(use="old") == []


def test_a_config_that_gives_a_deprecated_setting_is_reported_once() -> None:
    assert validate(use="new", width=4) == []
    lines = ["the setting `wide` of projection `new` is deprecated: use `width` instead"]
    assert validate(use="new", wide=4) == lines
    assert validate(use="new", wide=5) == []


def test_users_see_it() -> None:
    assert issubclass(EngineDeprecation, FutureWarning)  # which Python shows by default

    def old() -> None:
        warn_once("x", "use y")

    with pytest.warns(EngineDeprecation, match="x is deprecated: use y") as caught:
        old()
    assert caught[0].filename == __file__


def test_a_renamed_name_leads_to_the_new_one() -> None:
    module = ModuleType("a_module")
    module.__getattr__ = renamed("a_module", {"OldError": "engine.errors.PluginError"})  # type: ignore[method-assign]
    with pytest.warns(
        EngineDeprecation, match=r"a_module\.OldError is deprecated: use engine\."
    ) as caught:
        found = module.OldError
    assert caught[0].filename == __file__
    from engine.errors import PluginError

    assert found is PluginError
    with pytest.raises(AttributeError, match="has no attribute 'other'"):
        _ = module.other


def test_the_command_line_lists_it(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("one")
    settings = "engine.contracts.dataset:DatasetSettings"
    old = Plugin("dataset", "old", "nowhere:X", settings, "squares", "use `shapes` instead")
    module.ENGINE_API = API_VERSION  # type: ignore[attr-defined]
    module.engine_plugins = hookimpl(lambda: [old])  # type: ignore[attr-defined]
    dist = SimpleNamespace(name="one", version="1")
    point: Any = SimpleNamespace(name="one", value="no_such", dist=dist, load=lambda: module)
    registry = registry_module.Registry([point])
    monkeypatch.setattr(registry_module, "default_registry", lambda: registry)
    monkeypatch.setattr("engine.cli.tables.stdout", Console)
    monkeypatch.setenv("COLUMNS", "120")
    app = typer.Typer()
    app.command()(plugins.command)
    for arguments in ([], ["dataset"]):
        said = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout
        assert "squares; deprecated: use `shapes` instead" in said
    loaded = json.loads(CliRunner().invoke(app, ["--json"], catch_exceptions=False).stdout)
    assert loaded["plugins"][0]["deprecated"] == "use `shapes` instead"
