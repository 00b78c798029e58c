"""The JSON Schema accepts what loads, and refuses what does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from engine.core.config import EngineConfig, config_schema, dump_config, json_schema, load_config
from engine.core.registry import Registry, default_registry

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
SHIPPED = sorted([*CONFIGS.glob("*.yaml"), *(CONFIGS / "tiny").glob("*.yaml")])


@pytest.fixture(scope="module")
def schema(registry: Registry) -> dict[str, Any]:
    return json_schema(registry)


@pytest.fixture(scope="module")
def valid(schema: dict[str, Any]) -> Callable[[str], bool]:
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    return lambda text: bool(validator.is_valid(yaml.safe_load(text)))


def test_a_config_is_valid_and_so_is_its_dump(
    valid: Callable[[str], bool], load: Callable[..., EngineConfig], config_text: str
) -> None:
    assert valid(config_text)
    assert valid(dump_config(load("limits.weights=1 GB")))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("vision: {use: plain}", "vision: plain"),
        ("of: {use: plain}", "of: plain"),
        ("name: mine", "name: mine\nlimits: {weights: 300MB}"),
        ("name: mine", "name: mine\nlimits: {weights: 1 GiB}"),
        ("name: mine", "name: mine\nlimits: {weights: 1000}"),
        ("width: 6", "width: 6\n    weights: {from: 'hf:a/b', otherwise: scratch}"),
    ],
)
def test_valid(valid: Callable[[str], bool], config_text: str, old: str, new: str) -> None:
    assert valid(config_text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("embed_dim: 8", "embed_dmi: 8"),
        ("embed_dim: 8", "embed_dim: 0"),
        ("embed_dim: 8\n", "\n"),
        ("use: words", "use: wrods"),
        ("use: words", "use: plain"),
        ("width: 6", "width: six"),
        ("width: 6", "side: 6"),
        ("{use: square, side: 4}", "square"),  # `side` has no default
        ("{use: square, side: 4}", "{use: square}"),
        ("of: {use: plain}", "of: {use: plain, of: plain}"),
        ("{use: spaces}", "{use: spaces, rate: []}"),
        ("name: mine", "name: mine\nlimits: {weights: 300 parsecs}"),
        ("width: 6", "weights: {from: 'http://x'}"),
        ("engine: 1", "engine: 2"),
        ("path: here", "path: here, count: some"),
    ],
)
def test_invalid(valid: Callable[[str], bool], config_text: str, old: str, new: str) -> None:
    assert not valid(config_text.replace(old, new))


def test_a_config_that_extends_may_be_a_part(valid: Callable[[str], bool]) -> None:
    assert valid("extends: base.yaml")
    assert valid("extends: base.yaml\nmodel: {text: {width: 8, use: words}, vision: {side: 3}}")
    assert not valid("model: {text: {width: 8}}")
    assert not valid("extends: 3")
    assert not valid("extends: base.yaml\nmodel: {text: {widht: 8, use: words}}")
    assert not valid("extends: base.yaml\nmodel: {vision: {side: three}}")
    assert not valid("extends: base.yaml\nmdoel: {}")


def test_names_and_settings_are_described(schema: dict[str, Any]) -> None:
    words = schema["$defs"]["text_encoder.words"]
    assert words["properties"]["use"] == {"const": "words", "description": "the words of tests"}
    assert words["properties"]["width"]["description"] == "width of the features"
    assert words["additionalProperties"] is False
    nested = schema["$defs"]["projection.nested"]["properties"]["of"]
    assert nested["$ref"] == "#/$defs/projection"
    assert nested["default"] == {"use": "plain"}
    assert "x-engine-kind" not in json.dumps(schema)


def test_a_plugin_whose_settings_do_not_import_is_left_out(registry: Registry) -> None:
    schema, left_out = config_schema(EngineConfig, registry)
    assert "projection.gone" not in schema["$defs"]
    assert [(one.kind, one.name) for one in left_out] == [("projection", "gone")]
    assert "NotThereSettings" in left_out[0].error


def test_every_reference_leads_somewhere(schema: dict[str, Any]) -> None:
    refs: list[str] = []

    def visit(value: Any) -> None:
        if isinstance(value, dict):
            refs.extend([value["$ref"]] if isinstance(value.get("$ref"), str) else [])
            for inner in value.values():
                visit(inner)
        elif isinstance(value, list):
            for inner in value:
                visit(inner)

    visit(schema)
    assert refs
    used = {ref.removeprefix("#/$defs/") for ref in refs}
    assert used == set(schema["$defs"])


def test_a_kind_without_plugins() -> None:
    validator = Draft202012Validator(json_schema(Registry([])))
    assert not validator.is_valid({"engine": 1, "name": "x", "model": {"text": "words"}})


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_the_shipped_configs_and_their_dumps(path: Path) -> None:
    validator = Draft202012Validator(json_schema(default_registry()))
    for text in (path.read_text(encoding="utf-8"), dump_config(load_config(path))):
        assert [error.message for error in validator.iter_errors(yaml.safe_load(text))] == []
