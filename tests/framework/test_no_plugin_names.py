"""Engine knows no plugin by name: nothing is missing where none is installed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

from engine.core.registry import default_registry

SOURCE = Path(__file__).parents[2] / "framework" / "engine"

OTHER_MEANINGS = {
    "activations": "what rows of data may have instead of images",
    "artifact": "the folder that a build writes, and the prefix of a source of weights",
    "accuracy": "the share of right answers, a key of histories, curves and clusters' reports",
    "bfloat16": "a dtype",
    "digits": "a class of characters",
    "emoji": "an option of rich",
    "ema": "a key of a checkpoint",
    "float16": "a dtype",
    "float32": "a dtype",
    "fold_norms": "a setting of towers whose batch norms can be folded",
    "identity": "an HTTP header",
    "linear": "a schedule of the learning rate",
    "open_clip": "a library, the program that writes its files, and the format of an export",
    "ruclip": "a program whose description files are read",
    "sentencepiece": "a library whose version is shown",
    "shards": "a format of data, and a folder of it",
    "sigmoid": "a function, which makes a probability of a logit",
    "timm": "a library and the program that writes its files",
    "trained": "a key of a checkpoint",
    "transformers": "a library, and the format of an export",
}
"""Words that the source also uses for something that is not the plugin."""

TEMPLATES = SOURCE / "scaffold"
"""Its texts are files of a new package; the example config there names plugins, as configs do."""


def plugin_names() -> set[str]:
    """The names of the built-in plugins."""
    return {
        one.plugin.name
        for one in default_registry().all()
        if one.distribution.name == "engine-towers"
    }


def found_names(code: str, names: set[str]) -> set[str]:
    """The names that stand in a module: as a whole string, or after ``use`` in one."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            used = re.findall(r"\buse[:=] ?[\"']?([A-Za-z0-9_]+)", node.value)
            found |= {node.value, *used} & names
            ticked = set(re.findall(r"`([a-z0-9_]+)`", node.value)) & names
            found |= {name for name in ticked if "_" in name}  # no word of English
    return found


def test_the_source_names_no_built_in_plugin() -> None:
    names = plugin_names()
    assert len(names) > 30
    wrong = {
        str(path.relative_to(SOURCE)): sorted(found)
        for path in SOURCE.rglob("*.py")
        if TEMPLATES not in path.parents
        and (found := found_names(path.read_text(encoding="utf-8"), names) - OTHER_MEANINGS.keys())
    }
    assert not wrong


def test_names_are_found_where_they_stand() -> None:
    code = """
x = registry.get("dataset", "shapes")
y = {"use": "kmeans"}
z = "for example `{use: click_log, path: MY_DATA}` or --set text.use=rubert"
"""
    assert found_names(code, plugin_names()) == {"shapes", "kmeans", "click_log", "rubert"}
    assert not found_names("shapes = 1  # use: kmeans", plugin_names())


EMPTY = """
import importlib, importlib.metadata, pkgutil, sys
every = importlib.metadata.entry_points  # libraries look for entry points of their own
importlib.metadata.entry_points = lambda **of: () if of == {"group": "engine"} else every(**of)
import engine
for module in pkgutil.walk_packages(engine.__path__, "engine."):
    if module.name != "engine.__main__":
        importlib.import_module(module.name)
from engine.core.registry import default_registry
assert not default_registry().all() and not default_registry().broken
assert not [name for name in sys.modules if name.startswith("engine_plugins")]
sys.argv = ["engine", "--help"]
from engine.cli.main import run
run()
"""


def test_with_an_empty_registry_every_module_imports_and_help_works() -> None:
    done = subprocess.run([sys.executable, "-c", EMPTY], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Commands:" in done.stdout
    assert "build" in done.stdout


def test_with_an_empty_registry_a_config_says_what_is_missing(tmp_path: Path) -> None:
    config = SOURCE.parents[1] / "configs" / "tiny" / "clip_openai.yaml"
    code = EMPTY.partition("import engine\n")[0] + (
        f"sys.argv = ['engine', 'size', {str(config)!r}]\nfrom engine.cli.main import run\nrun()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "unknown text_encoder" in done.stderr
    assert "Traceback" not in done.stderr
