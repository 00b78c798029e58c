"""A JSON Schema (draft 2020-12) of a whole config with every installed plugin.

An editor reads it to complete and check configs. Each plugin is a mapping whose ``use`` is its
name; a plugin's plugins (``clustered`` of ``residual``) refer to their kind, so that the schema
nests as deep as a config does. A config with ``extends`` is a part of one: every key in it is
checked, and none is asked for.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from engine.contracts.kinds import KINDS
from engine.contracts.settings import KIND_DEFAULT, Settings
from engine.core.config.diagnostics import printable
from engine.core.config.schema import EngineConfig
from engine.errors import PluginError

if TYPE_CHECKING:
    from engine.core.registry import Registry

Schema = dict[str, Any]
DRAFT = "https://json-schema.org/draft/2020-12/schema"
_REF = "#/$defs/"
_MARK = "x-engine-kind"
_PART = "part."
"""Before the names of definitions in which nothing is required."""


@dataclass(frozen=True)
class LeftOut:
    """A plugin that the schema cannot hold, and why."""

    kind: str
    name: str
    error: str


@dataclass(frozen=True)
class _Choice:
    """One plugin of a kind with the schema of its settings."""

    name: str
    summary: str
    settings: Schema


class _Untitled(GenerateJsonSchema):
    """Leaves out the titles that pydantic makes of field names: editors show them as text."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def json_schema(registry: Registry) -> Schema:
    """The schema of a whole config. Plugins whose settings do not import are left out."""
    return config_schema(EngineConfig, registry)[0]


def config_schema(settings: type[Settings], registry: Registry) -> tuple[Schema, list[LeftOut]]:
    """The schema of a file of any settings, and the plugins that it had to leave out."""
    plugins, left_out = _loadable(registry)
    classes = list(dict.fromkeys([settings, *(found for *_, found in plugins)]))
    refs, whole = models_json_schema(
        [(one, "validation") for one in classes], schema_generator=_Untitled
    )
    defs: dict[str, Schema] = whole["$defs"]
    choices: dict[str, list[_Choice]] = {kind: [] for kind in KINDS}
    for kind, name, summary, found in plugins:
        own = _resolved(refs[found, "validation"], defs)
        choices[kind].append(_Choice(name, summary, own))
    for kind, many in choices.items():
        for choice in many:
            defs[f"{kind}.{choice.name}"] = _plugin(choice)
        defs[kind] = _kind(kind, many)
    _replace_defaults(defs, registry)
    _replace_marks(defs)
    root = refs[settings, "validation"]["$ref"].removeprefix(_REF)
    defs |= {_PART + name: _partial(schema) for name, schema in defs.items()}
    defs[_PART + root]["properties"]["extends"] = {
        "type": "string",
        "minLength": 1,
        "description": "the file, relative to this one, over which this config is laid",
    }
    top: Schema = {
        "$schema": DRAFT,
        "title": (settings.__doc__ or settings.__name__).partition("\n")[0],
        "if": {"type": "object", "required": ["extends"]},
        "then": {"$ref": f"{_REF}{_PART}{root}"},
        "else": {"$ref": _REF + root},
    }
    return {**top, "$defs": _reachable(top, defs)}, left_out


def _loadable(
    registry: Registry,
) -> tuple[list[tuple[str, str, str, type[Settings]]], list[LeftOut]]:
    """Kind, name, summary and settings of each plugin that a config can use."""
    plugins: list[tuple[str, str, str, type[Settings]]] = []
    left_out: list[LeftOut] = []
    for kind in KINDS:
        for name in registry.names(kind):
            try:
                plugin = registry.get(kind, name)
                settings = plugin.load_settings()
                settings.model_json_schema()
            except PluginError as error:
                left_out.append(LeftOut(kind, name, printable(str(error))))
            except (PydanticUserError, TypeError, ValueError) as error:
                reason = f"{kind} `{name}`: its settings have no JSON Schema: {error}"
                left_out.append(LeftOut(kind, name, printable(reason)))
            else:
                plugins.append((kind, name, plugin.summary, settings))
    return plugins, left_out


def _resolved(schema: Schema, defs: dict[str, Schema]) -> Schema:
    return defs[schema["$ref"].removeprefix(_REF)] if "$ref" in schema else schema


def _plugin(choice: _Choice) -> Schema:
    """The long form, ``{use: NAME, ...}``."""
    own = choice.settings
    return {
        "type": "object",
        "title": choice.name,
        "description": choice.summary or own.get("description", ""),
        "properties": {
            "use": {"const": choice.name, "description": choice.summary},
            **own.get("properties", {}),
        },
        "required": ["use", *own.get("required", [])],
        "additionalProperties": own.get("additionalProperties", False),
    }


def _kind(kind: str, choices: list[_Choice]) -> Schema:
    """Any plugin of a kind: by its name alone where it needs no setting, else in the long form."""
    if not choices:
        return {"not": {}, "description": f"no {kind} is installed"}
    short = [c.name for c in choices if not c.settings.get("required")]
    names = [{"enum": short, "description": f"a {kind} with its defaults"}] if short else []
    long = [{"$ref": f"{_REF}{kind}.{choice.name}"} for choice in choices]
    return {"description": f"a {kind}: {KINDS[kind].description}", "anyOf": [*names, *long]}


def _inner(schema: Any) -> Iterator[Schema]:
    """A schema and every schema below it."""
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from _inner(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _inner(value)


def _replace_defaults(defs: dict[str, Schema], registry: Registry) -> None:
    """Write the registry's defaults into the schema; leave out those that it does not have."""
    for schema in _inner(defs):
        for items in (schema, schema.get("items")):
            if not isinstance(items, dict) or not isinstance(items.get(_MARK), str):
                continue
            default = schema.get("default")
            if default not in (KIND_DEFAULT, [KIND_DEFAULT]):
                continue
            try:
                name = registry.default(items[_MARK])
            except PluginError:
                del schema["default"]
            else:
                schema["default"] = name if default == KIND_DEFAULT else [{"use": name}]


def _replace_marks(defs: dict[str, Schema]) -> None:
    for schema in _inner(defs):
        if isinstance(schema.get(_MARK), str):
            schema["$ref"] = _REF + schema.pop(_MARK)


def _partial(schema: Schema) -> Schema:
    """The same with nothing required, for configs whose rest stands in another file."""
    part = copy.deepcopy(schema)
    for inner in _inner(part):
        if isinstance(inner.get("required"), list):
            del inner["required"]
        if isinstance(inner.get("$ref"), str):
            inner["$ref"] = _REF + _PART + inner["$ref"].removeprefix(_REF)
    return part


def _reachable(top: Schema, defs: dict[str, Schema]) -> dict[str, Schema]:
    """The definitions that are used, sorted by name."""
    found: set[str] = set()
    waiting = [top]
    while waiting:
        for inner in _inner(waiting.pop()):
            name = str(inner.get("$ref", "")).removeprefix(_REF)
            if name in defs and name not in found:
                found.add(name)
                waiting.append(defs[name])
    return {name: defs[name] for name in sorted(found)}
