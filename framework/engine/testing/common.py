"""What every plugin promises, whatever its kind: its record, its class, its settings."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from engine.contracts.kinds import KINDS
from engine.errors import EngineError, PluginError
from engine.testing.core import NotApplicable, describe, fault, rule
from engine.testing.small import NoSettings
from engine.testing.subject import Subject


@rule(
    contract="engine.contracts.hooks.Plugin",
    says="a class derived from the contract of its kind, with every abstract method given",
    why="Engine imports the class by this record when a model is built, and calls the methods of"
    " its kind's contract.",
)
def registration(it: Subject) -> None:
    """The record leads to a class of the kind's contract and to a settings class."""
    base = KINDS[it.kind].load_contract()
    contract = f"{base.__module__}.{base.__name__}"
    try:
        found = it.target
    except PluginError as error:
        fault("the plugin's target to be found and imported", str(error))
    if not issubclass(found, base):
        bases = ", ".join(one.__name__ for one in found.__mro__[1:-1]) or "nothing"
        fault(f"{found.__name__} to derive from {contract}", f"it derives from {bases}")
    if missing := sorted(getattr(found, "__abstractmethods__", ())):
        fault(f"{found.__name__} to give every abstract method of {contract}",
              f"missing: {', '.join(missing)}")  # fmt: skip
    settings_base = KINDS[it.kind].load_settings_base().__name__
    try:
        it.settings_type  # noqa: B018 - importing it is the check
    except PluginError as error:
        fault(
            f"settings that are found, and derive from engine.contracts.{settings_base}",
            str(error),
            "Engine reads the fields that every plugin of the kind has (a tower's `weights`, a"
            " text encoder's `max_tokens`) from its settings.",
        )


@rule(
    contract="engine.contracts.settings",
    says="Every plugin has one settings class",
    why="A config's settings are validated before anything is built; a mistake is reported with its"
    " line.",
    needs=("registration",),
)
def settings_valid(it: Subject) -> None:
    """The settings to check with are valid."""
    try:
        found = it.settings
    except NoSettings as error:
        fault(
            f"settings that {it.settings_type.__name__} takes",
            f"{error}",
            "The kit guesses small settings where it can. Give it some: settings={...}, small"
            " enough that the plugin is built in a moment.",
        )
    if not isinstance(found, it.settings_type):
        fault(f"an instance of {it.settings_type.__name__}", repr(found))


@rule(
    contract="engine.contracts.settings.Settings",
    says="Base of every plugin's settings: immutable, unknown keys refused, defaults validated.",
    why="A misspelt setting that is passed over silently trains another model than the user"
    " wrote down.",
    needs=("settings_valid",),
)
def settings_refuse_unknown(it: Subject) -> None:
    """Unknown keys are an error, and settings cannot be changed."""
    config = _config(it)
    try:
        it.validate({**config, "no_such_setting": 1})
    except (ValidationError, EngineError):
        pass
    else:
        fault(
            "the unknown key `no_such_setting` to be refused",
            f"{it.settings_type.__name__} takes it (its model_config says"
            f" extra={it.settings_type.model_config.get('extra')!r}; leave that to the base class)",
        )
    if not it.settings_type.model_config.get("frozen"):
        fault("settings that cannot be changed (frozen)",
              f"{it.settings_type.__name__}.model_config has frozen=False")  # fmt: skip


@rule(
    contract="engine.contracts.settings.PluginRef.to_config",
    says="Return the mapping a config would hold, every default filled in (JSON types only).",
    why="An artifact keeps its resolved config as YAML and is loaded from it again: what does not"
    " come back the same is another model.",
    needs=("settings_valid",),
)
def settings_round_trip(it: Subject) -> None:
    """to_config, through YAML and JSON, validates to equal settings."""
    config = _config(it)
    try:
        written = yaml.safe_load(yaml.safe_dump(config, allow_unicode=True))
        if json.loads(json.dumps(config)) != config:
            raise ValueError("JSON gives other values back")
    except (TypeError, ValueError, yaml.YAMLError) as error:
        fault("a config of plain JSON types", f"{describe(error)}\nthe config: {config}")
    try:
        again = it.validate(written)
    except (ValidationError, EngineError) as error:
        fault("the resolved config to be valid settings", f"{error}\nthe config: {config}")
    other = _config(it, again)
    if again != it.settings or other != config:
        changed = {
            name: (getattr(it.settings, name), getattr(again, name))
            for name in it.settings_type.model_fields
            if getattr(it.settings, name) != getattr(again, name)
        }
        changes = [f"{name}: {one!r} became {two!r}" for name, (one, two) in changed.items()]
        fault("the same settings again", "\n".join(changes) or _differences(config, other))


@rule(
    contract="engine.contracts.hooks.Plugin",
    says="that module must not import torch",
    why="`engine plugins`, `engine schema` and `engine size` read the settings of every plugin and"
    " answer in a moment; importing torch takes seconds.",
    needs=("settings_valid",),
)
def settings_without_torch(it: Subject) -> None:
    """Neither the settings' module nor their validation nor a plan imports torch."""
    module, _, name = it.plugin.settings.partition(":")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    given = json.dumps([it.kind, it.plugin.name, it.plugin.settings, it.plugin.target, _config(it)])
    done = subprocess.run(
        [sys.executable, "-m", "engine.testing.light"],
        input=given, capture_output=True, text=True, env=environment, timeout=600,
    )  # fmt: skip
    said = done.stdout.strip().splitlines()
    if done.returncode or not said:
        raise NotApplicable(
            f"{module} cannot be imported in a process of its own: "
            f"{(done.stderr.strip().splitlines() or ['no reason given'])[-1]}"
        )
    if said[-1] != "light":
        fault(f"{module}:{name} to work without torch", said[-1])


def _config(it: Subject, settings: Any = None) -> dict[str, Any]:
    dumped: dict[str, Any] = (it.settings if settings is None else settings).model_dump(
        mode="json", by_alias=True, round_trip=True
    )
    return dumped


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    return "\n".join(
        f"{name}: {one.get(name)!r} became {other.get(name)!r}"
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
    )


def call(method: Any, *arguments: Any, expected: str, **named: Any) -> Any:
    """Call the plugin's code; an error is a fault with words for what was expected."""
    try:
        return method(*arguments, **named)
    except EngineError as error:
        fault(expected, describe(error))
    except Exception as error:
        fault(expected, describe(error))


def must_raise(kind: type[Exception], method: Any, *arguments: Any, expected: str) -> None:
    """Call the plugin's code, which must raise an error of this kind (and no other)."""
    try:
        found = method(*arguments)
    except kind:
        return
    except Exception as error:
        fault(expected, f"another error: {describe(error)}")
    fault(expected, f"no error; it gave {shorten(found)}")


def shorten(value: Any, maximum: int = 120) -> str:
    """A value's repr, short."""
    text = " ".join(repr(value).split())
    return text if len(text) <= maximum else f"{text[: maximum - 1]}…"


def source_of(found: type[Any]) -> str:
    """Where a class is written."""
    try:
        return f"{inspect.getsourcefile(found)}:{inspect.getsourcelines(found)[1]}"
    except (OSError, TypeError):
        return found.__module__


RULES = (
    registration,
    settings_valid,
    settings_refuse_unknown,
    settings_round_trip,
    settings_without_torch,
)


def imports_no_torch(it: Subject) -> None:
    """The plugin's module imports in a process of its own without torch."""
    module = it.plugin.target.partition(":")[0]
    code = f"import sys; sys.path[:] = {sys.path!r}; import {module}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise NotApplicable(f"{module} cannot be imported in a process of its own")
    if done.stdout.strip().endswith("True"):
        fault(f"{module} to import without torch", "importing it imported torch")
