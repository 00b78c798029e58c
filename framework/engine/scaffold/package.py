"""What the packages of every kind have in common."""

from __future__ import annotations

PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "$distribution"
version = "0.1.0"
description = "A plugin for Engine: the $kind `$name`."
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["engine-towers>=$engine_version"]

[project.optional-dependencies]
test = ["pytest>=8"]

# By this door Engine finds the package: it calls `engine_plugins` of the module that is named here.
[project.entry-points.engine]
$module = "$module"

[tool.pytest.ini_options]
testpaths = ["tests"]

[tool.ruff]
line-length = 100
"""

INIT = '''\
"""Registers the plugin. Every `engine` command imports this, so it imports nothing heavy."""

from __future__ import annotations

from engine.contracts.hooks import Plugin, hookimpl

ENGINE_API = "$api"  # the version of Engine's plugin API that this is written for


@hookimpl
def engine_plugins() -> list[Plugin]:
    """What this package offers: classes by their names, which are imported when a config asks."""
    return [
$entry
    ]
'''

ENTRY = """\
        Plugin(
            kind="$kind",
            name="$name",
            target="$module.$file:$class_name",
$settings_line            summary="$summary",
        )"""
"""The plugin in the list that the package registers."""

SETTINGS_LINE = """\
            settings="$module.settings:${class_name}Settings",
"""
SETTINGS_HINT = """, and what a config may say to it into `settings.py`
beside it"""
"""Two pieces that a kind without settings leaves out."""

CONFIG = """\
# $headline
engine: 1
name: $name
model:
  embed_dim: 64
  vision: $vision
  text:$text
  projection:
    vision: $vision_projection
    text: $text_projection
data:
  train: $train
  evaluate:
    - $evaluate
${clusters}${storage}limits: {weights: 5 MB}
train:
  stages:
    - name: everything
      trains: {vision: true, text: true}
      epochs: 12
      batch_size: 64
      optimizer: $optimizer
      schedule: {name: cosine, warmup: 0.1}
      sampler: $sampler
      losses:
        - $loss
  evaluate_every: 4
  loggers:
    - {use: console}${logger}${callback}${teachers}
"""

TEST = '''\
"""Checks the plugin against its contract; a failure says what was expected and why it matters."""

from __future__ import annotations

$test_head

@plugin_checks($checked)
def test_contract(check: Check) -> None:
    check()
'''

README = """\
# $distribution

A plugin for Engine: the $kind `$name`, which $does.

```bash
$commands
```

Your code goes into `src/$module/$file.py`$settings_hint.
Its contract is `$contract` in `$contract_module`. When a test fails, its report
says what was expected, why it matters, and where the contract says so.
"""
