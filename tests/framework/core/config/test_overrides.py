"""``--set``: settings over those of a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.core.config import EngineConfig

Load = Callable[..., EngineConfig]
ErrorOf = Callable[..., str]


def test_values_are_yaml(load: Load) -> None:
    config = load(
        "model.embed_dim=512", "name=o-ther", "zero_shot.lower=true",
        "zero_shot.templates=['a {}', 'b {}']", "limits={weights: 1 GB}", "model.logit_scale=1e-1",
    )  # fmt: skip
    assert config.model.embed_dim == 512
    assert config.name == "o-ther"
    assert config.zero_shot.lower
    assert config.zero_shot.templates == ("a {}", "b {}")
    assert config.limits.weights == 10**9
    assert config.model.logit_scale == 0.1


def test_a_plugin_and_its_settings(load: Load) -> None:
    config = load("data.train={use: pictures, path: there, count: 3}")
    assert config.data.train is not None
    assert config.data.train.to_config() == {
        "use": "pictures", "path": "there", "count": 3, "notes": {},
    }  # fmt: skip
    # The same plugin keeps what is not named.
    assert load("data.train={count: 3}").data.train.to_config()["path"] == "here"  # type: ignore[union-attr]
    assert load("data.train=").data.train is None


def test_another_plugin_leaves_the_old_settings_behind(load: Load) -> None:
    text: Any = load("model.text.use=letters").model.text
    assert text.settings.alphabet == "абв"
    assert load("model.text=letters").model.text == text
    assert load("model.text={use: letters}").model.text == text


def test_the_order_of_a_plugin_and_its_settings_does_not_matter(load: Load) -> None:
    for plugin in ("model.text.use=letters", "model.text=letters", "model={text: {use: letters}}"):
        for overrides in ((plugin, "model.text.alphabet=x"), ("model.text.alphabet=x", plugin)):
            text: Any = load(*overrides).model.text
            assert text.settings.alphabet == "x"


def test_the_last_of_a_path_holds(load: Load) -> None:
    assert load("seed=1", "seed=2").seed == 2


def test_settings_of_a_short_form(load: Load, config_text: str) -> None:
    text = config_text.replace("vision: {use: plain}", "vision: plain")
    config = load("model.projection.vision.bias=true", text=text)
    assert config.model.projection.vision.to_config() == {"use": "plain", "bias": True}


def test_items_of_lists(load: Load, config_text: str) -> None:
    text = config_text + "  evaluate: [{use: pictures, path: a}, {use: pictures, path: b}]\n"
    config = load("data.evaluate.1.path=c", text=text)
    paths = [use.settings.path for use in config.data.evaluate]  # type: ignore[attr-defined]
    assert paths == [Path("a"), Path("c")]


def test_mappings_are_made(load: Load) -> None:
    assert load("data.train.notes.a=x").data.train.settings.notes == {"a": "x"}  # type: ignore[union-attr]
    assert load("storage.keep=[norms]").storage.keep == ("norms",)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.embed_dmi=5", ("--set 1: model.embed_dmi: unknown key", "`embed_dim`")),
        ("model.embed_dim=many", ("--set 1: model.embed_dim: expected a whole number",)),
        ("model.text.use=wrods", ("--set 1: model.text.use: unknown text_encoder", "`words`")),
        ("model.embed_dim.x=5", ("--set 1: model.embed_dim.x:", "is 8", "holds no `x`")),
        ("model.embed_dim", ("--set 1:", "expected KEY=VALUE")),
        ("=5", ("expected KEY=VALUE",)),
        ("model..x=5", ("expected KEY=VALUE",)),
        ("name=[", ("--set 1: name: not YAML",)),
        ("name=!!python/name:os.system x", ("--set 1: name: tag",)),
        ("zero_shot={lower: true, lower: false}", ("--set 1: zero_shot:", "twice")),
        ("data.evaluate.0=1", ("--set 1: data.evaluate.0: expected a mapping", "got 1")),
        ("data.evaluate.2=1", ("--set 1: data.evaluate.2:", "0 to 1", "`2`")),
        ("data.evaluate.x=1", ("--set 1: data.evaluate.x:", "0 to 1")),
        ("data.evaluate.-1=1", ("0 to 1",)),
        ("a" + ".a" * 5000 + "=1", ("--set 1", "deeper")),
        ("zero_shot.templates=" + "[" * 5000, ("--set 1", "deeper")),
    ],
)
def test_mistakes_name_the_override(
    error_of: ErrorOf, config_text: str, override: str, words: tuple[str, ...]
) -> None:
    text = config_text + "  evaluate: [{use: pictures, path: a}, {use: pictures, path: b}]\n"
    said = error_of("", "", override, text=text)
    for word in words:
        assert word in said


def test_all_mistakes_at_once(error_of: ErrorOf) -> None:
    said = error_of("side: 4", "side: x", "nmae=x", "seed=-1", "nothing").splitlines()
    assert said[0] == "4 diagnostics"
    assert said[1].startswith("  a.yaml:5:31: model.vision.side")
    assert said[2].startswith("  --set 1: nmae")
    assert said[3].startswith("  --set 2: seed: expected at least 0, got -1")
    assert said[4].startswith("  --set 3: `nothing`")
