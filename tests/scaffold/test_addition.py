"""A second plugin in a package that is there."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from engine.contracts import KINDS
from engine.errors import PluginError
from engine.scaffold import add_plugin, new_package
from engine.scaffold.addition import with_entry

ENTRY = '        Plugin(kind="loss", name="b", target="m:B")'
HEAD = "def engine_plugins() -> list[Plugin]:\n    "


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return new_package("engine-my-encoder", "text_encoder", tmp_path / "package").folder


def contents(folder: Path) -> dict[str, bytes]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def registered(folder: Path) -> list[list[str]]:
    """Kind, name and settings of what the package registers; every class is imported."""
    code = (
        "import json, engine_my_encoder\n"
        "plugins = engine_my_encoder.engine_plugins()\n"
        "for plugin in plugins: plugin.load()\n"
        "print(json.dumps([[p.kind, p.name, p.load_settings().__name__] for p in plugins]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder / "src", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found: list[list[str]] = json.loads(done.stdout)
    return found


def test_one_of_every_kind_in_one_package(package: Path) -> None:
    before = contents(package)
    for kind in KINDS:
        made = add_plugin(f"own-{kind.replace('_', '-')}", kind, package)
        assert all((package / path).is_file() for path in made.files)
        assert not [line for line in made.commands if "my.yaml" in line]
        config = yaml.safe_load((package / f"own_{kind}.yaml").read_text(encoding="utf-8"))
        assert config["name"] == f"own_{kind}"
    after = contents(package)
    changed = {path for path, data in before.items() if after[path] != data}
    assert changed == {"src/engine_my_encoder/__init__.py"}
    found = registered(package)
    assert [(kind, name) for kind, name, _ in found] == [
        ("text_encoder", "my_encoder"), *((kind, f"own_{kind}") for kind in KINDS),
    ]  # fmt: skip
    own = [settings for kind, _, settings in found[1:] if kind != "command"]
    assert all(settings.startswith("Own") for settings in own)
    ruff = [sys.executable, "-m", "ruff"]
    for arguments in (
        ["check", "--isolated", "--select", "E,F,W,I", "--ignore", "E501"],
        ["format", "--diff"],
    ):
        done = subprocess.run(
            [*ruff, *arguments, str(package)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


def test_a_second_plugin_of_one_kind_has_a_module_of_its_own(package: Path) -> None:
    made = add_plugin("other", "text_encoder", package)
    assert "src/engine_my_encoder/other.py" in made.files
    assert registered(package)[1] == ["text_encoder", "other", "OtherSettings"]


@pytest.mark.parametrize("fault", ["name", "kind", "taken", "twice", "list", "project", "nowhere"])
def test_nothing_is_written_where_it_cannot_be_added(package: Path, fault: str) -> None:
    name, kind, folder, words = "own-loss", "loss", package, ""
    if fault == "name":
        name, words = "Own Loss", "not a name for a package"
    elif fault == "kind":
        kind, words = "los", "not a kind of plugin"
    elif fault == "taken":
        name, words = "contrastive", "already, from engine-towers"
    elif fault == "twice":
        (package / "own_loss.yaml").write_text("mine", encoding="utf-8")
        words = "own_loss.yaml exists already"
    elif fault == "list":
        listed = package / "src" / "engine_my_encoder" / "__init__.py"
        listed.write_text("PLUGINS = []\ndef engine_plugins():\n    return PLUGINS\n", "utf-8")
        words = "does not return one list"
    elif fault == "project":
        (package / "pyproject.toml").write_text("[project]\nname = 'x'\n", encoding="utf-8")
        words = "is not that of a package"
    else:
        folder, words = package / "nothing", "cannot be read"
    before = contents(package)
    with pytest.raises(PluginError, match=words):
        add_plugin(name, kind, folder)
    assert contents(package) == before


def test_a_full_disk_leaves_nothing(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.scaffold import addition

    written = []
    write = addition.write_text

    def full(path: Path, text: str) -> None:
        written.append(path)
        if len(written) == 3:
            raise OSError("no space left on device")
        write(path, text)

    monkeypatch.setattr(addition, "write_text", full)
    before = contents(package)
    with pytest.raises(OSError, match="no space left"):
        add_plugin("own-loss", "loss", package)
    assert contents(package) == before


@pytest.mark.parametrize(
    "body",
    [
        "return []",
        "return [A]",
        "return [A,]",
        "return [\n        A,\n        B(1, [2]),  # ёж\n    ]",
        "return [\n        A\n    ]\n\n\nx = [1]",
        "x = 'ёлка'; return [x, 'ёж']",
    ],
)
def test_an_entry_is_added_to_a_list(body: str) -> None:
    new = with_entry(HEAD + body, ENTRY, "here")
    (old_list, new_list) = (
        next(n.value for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Return))
        for code in (HEAD + body, new)
    )
    assert isinstance(old_list, ast.List)
    assert isinstance(new_list, ast.List)
    assert [ast.dump(one) for one in new_list.elts[:-1]] == [ast.dump(one) for one in old_list.elts]
    assert ast.unparse(new_list.elts[-1]) == "Plugin(kind='loss', name='b', target='m:B')"
    assert ("# ёж" in new) == ("# ёж" in body)
    assert ("x = [1]" in new) == ("x = [1]" in body)


@pytest.mark.parametrize(
    "code",
    ["", "def f(:", HEAD + "return list(x)", HEAD + "if x:\n        return []\n    return [1]"],
)
def test_code_without_one_list(code: str) -> None:
    with pytest.raises(PluginError, match="here"):
        with_entry(code, ENTRY, "here")


def test_the_command(package: Path) -> None:
    def engine(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = "from engine.cli.main import run; run()"
        return subprocess.run(
            [sys.executable, "-c", code, "plugin", "new", *arguments],
            cwd=package, capture_output=True, text=True,
        )  # fmt: skip

    done = engine("my-tokenizer", "--kind", "tokenizer", "--into", ".")
    assert done.returncode == 0, done.stderr
    assert "now also has the tokenizer `my_tokenizer`" in done.stdout
    assert [kind for kind, _, _ in registered(package)] == ["text_encoder", "tokenizer"]
    both = engine("x", "--kind", "loss", "--into", ".", "-o", "y")
    assert (both.returncode, "exclude each other" in both.stderr) == (2, True)
