"""``engine plugins`` and ``engine schema``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import typer
from jsonschema import Draft202012Validator
from rich.console import Console
from typer.testing import CliRunner

from engine.cli import plugins, schema
from engine.contracts import KINDS
from engine.contracts.hooks import API_VERSION, Plugin, hookimpl
from engine.core.registry import Registry, default_registry
from engine.errors import PluginError

Call = Callable[..., str]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Call:
    """Arguments -> stdout, at 120 columns; the exit code must be 0."""
    app = typer.Typer()
    app.command("plugins")(plugins.command)
    app.command("schema")(schema.command)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("engine.cli.tables.stdout", Console)

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


@pytest.fixture
def strange(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry with a clash, a broken package, and a plugin whose settings do not import."""

    def package(name: str, *found: Plugin) -> Any:
        module = ModuleType(name)
        module.ENGINE_API = API_VERSION  # type: ignore[attr-defined]
        module.engine_plugins = hookimpl(lambda: list(found))  # type: ignore[attr-defined]
        dist = SimpleNamespace(name=name, version="1.0")
        return SimpleNamespace(name=name, value=name, dist=dist, load=lambda: module)

    def fail() -> object:
        raise ImportError("libmissing.so.3")

    twin = Plugin("dataset", "twin", "nowhere:Class")
    torn = Plugin("dataset", "torn", "nowhere:Class", "nowhere:Settings", "[bold]no markup[/]")
    broken = package("sad")
    broken.load = fail
    registry = Registry([package("one", twin, torn), package("other", twin), broken])
    monkeypatch.setattr("engine.core.registry.default_registry", lambda: registry)
    return registry


def test_every_plugin_is_listed(call: Call) -> None:
    out = call("plugins")
    for registered in default_registry().all():
        assert registered.plugin.kind in out
        assert registered.plugin.name in out
        assert str(registered.distribution) in out
    assert "BROKEN" not in out


def test_a_kind_shows_settings(call: Call) -> None:
    out = call("plugins", "projection")
    for words in ("residual", "clustered", "count", "whole number ≥ 2", "10", "number of clusters"):
        assert words in out
    assert "gpt3small" not in out


def test_a_name_shows_its_settings(call: Call) -> None:
    out = call("plugins", "click_log")
    for words in ("click_log", "path", "required", "metadata.json"):
        assert words in out
    both = call("plugins", "openai_clip")
    assert both.count("openai_clip  ") == 3  # a text encoder, a vision tower, a checkpoint adapter


def test_json(call: Call) -> None:
    loaded = json.loads(call("plugins", "--json"))
    assert loaded["broken"] == loaded["clashes"] == []
    rows = {(row["kind"], row["name"]): row for row in loaded["plugins"]}
    assert len(rows) == len(default_registry().all())
    settings = {s["name"]: s for s in rows["projection", "clustered"]["settings"]}
    assert settings["of"]["type"] == "projection"
    assert settings["count"]["default"] == 10
    assert settings["router.blocks"]["required"] is False
    for row in loaded["plugins"]:
        assert "error" not in row, row
        for setting in row["settings"]:
            assert setting["type"] != "anything", (row["name"], setting)
    assert [
        row["kind"] for row in json.loads(call("plugins", "tokenizer", "--json"))["plugins"]
    ] == ["tokenizer"] * len(default_registry().all("tokenizer"))


def test_a_kind_that_is_none(call: Call) -> None:
    with pytest.raises(PluginError, match="did you mean `text_encoder`") as error:
        call("plugins", "text_encodr")
    assert all(kind in str(error.value) for kind in KINDS)
    with pytest.raises(PluginError, match="did you mean `gpt3small`"):
        call("plugins", "gpt3smal")


def test_what_is_wrong_is_loud(call: Call, strange: Registry) -> None:
    out = call("plugins")
    assert "CLASH" in out
    assert "dataset `twin`: from one 1.0 and other 1.0" in out
    assert "BROKEN" in out
    assert "sad 1.0 (sad = sad): ImportError: libmissing.so.3" in out
    assert "[bold]no markup[/]" in out
    assert "Traceback" not in out
    assert "Traceback" in call("plugins", "--traceback")
    assert "cannot import nowhere:Settings" in call("plugins", "dataset")


def test_what_is_wrong_in_json(call: Call, strange: Registry) -> None:
    loaded = json.loads(call("plugins", "--json"))
    assert loaded["clashes"] == [
        {"kind": "dataset", "name": "twin", "distributions": ["one 1.0", "other 1.0"]}
    ]
    assert loaded["broken"][0]["distribution"] == "sad"
    assert "traceback" not in loaded["broken"][0]
    assert "cannot import" in next(r for r in loaded["plugins"] if r["name"] == "torn")["error"]
    assert (
        "Traceback"
        in json.loads(call("plugins", "--json", "--traceback"))["broken"][0]["traceback"]
    )


def test_the_schema(call: Call, tmp_path: Path) -> None:
    printed = json.loads(call("schema"))
    Draft202012Validator.check_schema(printed)
    assert call("schema", "-o", str(tmp_path / "new" / "engine.schema.json")) == ""
    written = (tmp_path / "new" / "engine.schema.json").read_text(encoding="utf-8")
    assert json.loads(written) == printed


def test_the_schema_tells_what_it_leaves_out(strange: Registry) -> None:
    app = typer.Typer()
    app.command()(schema.command)
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 0
    for words in ("dataset `torn`", "dataset `twin`", "sad 1.0"):
        assert words in result.stderr
    json.loads(result.stdout)


@pytest.mark.parametrize(
    "arguments", [["plugins"], ["plugins", "text_encoder"], ["plugins", "--json"], ["schema"]]
)
def test_nothing_heavy_is_imported(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from engine.cli.main import run\n"
        "try:\n    run()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "heavy = {'torch', 'numpy', 'transformers', 'open_clip', 'timm'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
