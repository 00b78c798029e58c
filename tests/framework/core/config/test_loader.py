"""Files: extends, what cannot be read, and that nothing but ConfigError comes out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core.config import EngineConfig, load_config
from engine.core.config.diagnostics import Place
from engine.core.config.loader import MAX_CHAIN
from engine.core.config.nodes import Node, lay_over
from engine.core.registry import Registry
from engine.errors import ConfigError

Load = Callable[..., EngineConfig]
ErrorOf = Callable[..., str]


def test_a_config(load: Load) -> None:
    config = load()
    assert config.name == "mine"
    assert config.model.text.name == "words"
    assert config.model.text.settings.width == 6  # type: ignore[attr-defined]
    assert config.model.text.settings.tokenizer.name == "spaces"  # type: ignore[attr-defined]
    nested: Any = config.model.projection.text.settings
    assert nested.of.settings.of.name == "plain"
    assert config.data.train is not None
    assert config.data.train.settings.path == Path("here")  # type: ignore[attr-defined]


def test_the_short_form(load: Load, config_text: str) -> None:
    text = config_text.replace("vision: {use: plain}", "vision: plain")
    assert load(text=text) == load()


def write(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def base(load: Load, config_text: str) -> str:
    """`base.yaml` in the test's folder."""
    load()
    write("base.yaml", config_text)
    return "base.yaml"


def test_extends_merges_mappings_and_replaces_the_rest(load: Load, base: str) -> None:
    config = load(
        text="extends: base.yaml\nname: other\nmodel:\n  embed_dim: 16\n"
        "zero_shot: {templates: ['a {}', 'b {}']}\ndata: {train: null}\n"
    )
    assert config.name == "other"
    assert config.model.embed_dim == 16
    assert config.model.vision.settings.side == 4  # type: ignore[attr-defined]
    assert config.zero_shot.templates == ("a {}", "b {}")
    assert config.data.train is None


def test_another_plugin_inherits_no_settings(load: Load, base: str) -> None:
    config = load(text="extends: base.yaml\nmodel: {text: {use: letters}}\n")
    assert config.model.text.to_config()["alphabet"] == "абв"
    assert load(text="extends: base.yaml\nmodel: {text: letters}\n") == config
    same = load(text="extends: base.yaml\nmodel: {text: {use: words, heads: 3}}\n")
    assert same.model.text.settings.width == 6  # type: ignore[attr-defined]
    assert load(text="extends: base.yaml\nmodel: {text: {heads: 3}}\n") == same
    assert load(text="extends: base.yaml\nmodel: {text: words}\n") == load()


def test_settings_over_a_short_form(load: Load, config_text: str) -> None:
    load()
    write("base.yaml", config_text.replace("vision: {use: plain}", "vision: plain"))
    config = load(text="extends: base.yaml\nmodel: {projection: {vision: {bias: true}}}\n")
    assert config.model.projection.vision.to_config() == {"use": "plain", "bias": True}


def test_chains_over_folders(load: Load, base: str) -> None:
    write("x/one.yaml", "extends: ../base.yaml\nseed: 1\nname: one\n")
    write("x/y/two.yaml", "extends: ../one.yaml\nseed: 2\n")
    config = load(text="extends: x/y/two.yaml\n")
    assert (config.name, config.seed, config.model.embed_dim) == ("one", 2, 8)


def test_mistakes_point_at_the_file_they_stand_in(error_of: ErrorOf, base: str) -> None:
    bad = Path(base).read_text(encoding="utf-8").replace("side: 4", "side: four")
    write("x/bad.yaml", bad)
    said = error_of(text="extends: x/bad.yaml\nmodel:\n  text: {wdth: 4}\n").splitlines()
    assert said[1].startswith("  a.yaml:3:10: model.text.wdth: unknown key")
    assert said[2].startswith("  x/bad.yaml:5:31: model.vision.side: expected a whole number")


def test_circles(error_of: ErrorOf, base: str) -> None:
    write("b.yaml", "extends: a.yaml\n")
    said = error_of(text="name: x\nextends: b.yaml\n")
    assert said == "b.yaml:1:10: extends: the files extend each other in a circle:" + (
        " a.yaml -> b.yaml -> a.yaml"
    )
    assert "a.yaml -> a.yaml" in error_of(text="extends: a.yaml\n")
    Path("link.yaml").symlink_to("a.yaml")
    assert "circle" in error_of(text="extends: link.yaml\n")


def test_long_chains(error_of: ErrorOf, base: str) -> None:
    for i in range(MAX_CHAIN + 2):
        write(f"c{i}.yaml", f"extends: c{i + 1}.yaml\n")
    assert f"more than {MAX_CHAIN}" in error_of(text="extends: c0.yaml\n")


@pytest.mark.parametrize(
    ("extends", "words"),
    [
        ("bse.yaml", ("a.yaml:1:10: extends:", "no such file", "`base.yaml`")),
        ("[base.yaml]", ("a.yaml:1:10: extends:", "name of one file")),
        ("''", ("name of one file",)),
        ("x", ("is not a file",)),
        ("secret.txt", ("is not a config",)),
        ("pipe.yaml", ("is not a file",)),
        ("base.yaml/y.yaml", ("no such file",)),
        ('"a\\0b"', ("no such file",)),
    ],
)
def test_what_cannot_be_extended(
    error_of: ErrorOf, base: str, extends: str, words: tuple[str, ...]
) -> None:
    Path("x").mkdir()
    os.mkfifo("pipe.yaml")
    write("secret.txt", "engine: 1\nname: x\n")
    said = error_of(text=f"extends: {extends}\n")
    for word in words:
        assert word in said


SECRETS = [
    "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/:\n",
    "PASSWORD: hunter2\n",
    "password: hunter2\nhost: {x: [hunter2\n",
    "- hunter2\n- other\n",
    "hunter2",
    "&hunter2 *hunter2",
    "  name: hunter2\n",
    "{name: hunter2}",
    "-----BEGIN PRIVATE KEY-----\nhunter2\n",
    "\ufeffhunter2: 1\n",
    "hunter2: 1\nhunter2: 2\n",
    "hunter2: !!python/object:os.system 1\n",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("link", [False, True])
def test_nothing_of_a_file_that_is_not_a_config_is_quoted(
    error_of: ErrorOf, base: str, secret: str, link: bool
) -> None:
    write("secret" if link else "secret.yaml", secret)
    if link:
        Path("secret.yaml").symlink_to("secret")
    said = error_of(text="extends: secret.yaml\n")
    assert "a.yaml:1:10: extends: `secret.yaml` is not a config" in said
    for part in ("hunter2", "root", "daemon", "PASSWORD", "KEY"):
        assert part not in said


@pytest.mark.parametrize("text", ["{use: letters, alphabet: [1]}", "{use: lettrs}"])
def test_mistakes_of_a_base_that_is_a_config_are_quoted(
    error_of: ErrorOf, base: str, config_text: str, text: str
) -> None:
    i, j = config_text.index("  text:"), config_text.index("  projection:")
    write("b.yaml", f"{config_text[:i]}  text: {text}\n{config_text[j:]}")
    assert "b.yaml:6:" in error_of(text="extends: b.yaml\n")


@pytest.mark.parametrize("extends", ["base.yaml", "../base.yaml", "/etc/hostname", "[x]"])
def test_a_config_inside_an_artifact_extends_nothing(
    base: str, registry: Registry, extends: str
) -> None:
    write("model/engine.json", "{}")
    path = write("model/config.yaml", f"extends: {extends}\n")
    for each in (path, Path("link.yaml")):
        if not each.exists():
            each.symlink_to(path)
        with pytest.raises(ConfigError, match="inside an artifact may not extend"):
            load_config(each, registry=registry)


def test_only_a_file_may_extend(error_of: ErrorOf, base: str) -> None:
    assert "model.text.extends: unknown key" in error_of("use: words", "use: words\n    extends: b")
    assert "--set 1: extends" in error_of("", "", "extends=base.yaml")


def test_files_that_cannot_be_read(registry: Registry, base: str) -> None:
    def said(name: str) -> str:
        with pytest.raises(ConfigError) as error:
            load_config(Path(name), registry=registry)
        return str(error.value)

    assert said("bsae.yaml") == "bsae.yaml: no such file (did you mean `base.yaml`?)"
    assert said("nowhere/b.yaml") == "nowhere/b.yaml: no such file"
    assert said(".") == ".: is a folder: expected a config, a YAML file"
    assert "no such file" in said("a\0b")
    assert "no such file" in said("base.yaml/b")
    assert "name too long" in said("x" * 300)


@pytest.mark.parametrize("text", ["- 1\n", "hello\n", "7\n"])
def test_no_mapping(error_of: ErrorOf, text: str) -> None:
    assert error_of(text=text) == "a.yaml:1:1: expected a mapping of settings"


def test_the_default_registry_is_what_is_installed(base: str) -> None:
    with pytest.raises(ConfigError, match="unknown vision_tower `square`"):
        load_config(Path(base))


def loads_or_is_refused(path: Path, registry: Registry, *overrides: str) -> None:
    said = ""
    try:
        load_config(path, overrides, registry=registry)
    except ConfigError as error:
        said = str(error)
    assert len(said.splitlines()) <= 14
    assert all(line.isprintable() for line in said.splitlines())


FUZZ = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats()
    | st.text(max_size=5) | st.sampled_from(["plain", "words", "a {}", "1 GB", "\x1b[31m"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["use", "of", "width", "path", "from", "extends", "notes", "x"])
        | st.text(max_size=3),
        inner, max_size=3,
    ),
    max_leaves=8,
)  # fmt: skip
PATHS = [
    "engine", "name", "model", "model.embed_dim", "model.vision", "model.text", "model.text.use",
    "model.text.width", "model.text.tokenizer", "model.projection", "model.projection.text.of.of",
    "data", "data.train", "data.train.path", "data.train.count", "data.train.notes",
    "data.evaluate", "zero_shot.templates", "limits.weights", "storage.default", "seed", "nothing",
]  # fmt: skip


@given(data=st.binary(max_size=300))
@FUZZ
def test_any_bytes(data: bytes, tmp_path: Path, registry: Registry) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(data)
    loads_or_is_refused(path, registry)


@given(path=st.sampled_from(PATHS), value=VALUES)
@FUZZ
def test_any_value_anywhere(
    path: str, value: object, tmp_path: Path, registry: Registry, config_text: str
) -> None:
    import yaml

    file = tmp_path / "a.yaml"
    file.write_text(config_text, encoding="utf-8")
    text = yaml.dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    loads_or_is_refused(file, registry, f"{path}={text}")


@given(st.lists(st.text(max_size=30), max_size=3))
@FUZZ
def test_any_override(
    tmp_path: Path, registry: Registry, config_text: str, overrides: list[str]
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(config_text, encoding="utf-8")
    loads_or_is_refused(file, registry, *overrides)


def test_a_word_over_a_mapping_without_use_takes_its_place() -> None:
    place = Place("a.yaml", 1, 1)
    below = Node({"share": Node(0.5, place)}, place, {"share": place})
    assert lay_over(below, Node("none", place)).value == "none"
    plugin = Node({"use": Node("residual", place)}, place, {"use": place})
    assert lay_over(plugin, Node("linear", place)).use == "linear"
