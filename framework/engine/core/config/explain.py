"""Every key of a config in words: type, default, unit, example, description.

It is read from the pydantic models, those of the plugins' settings too, so that it is never out of
date. A key below a plugin is named with the plugin: ``model.text.gpt3small.width``, or, where a
kind has one plugin that knows the key, without it.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from engine.contracts.kinds import KINDS
from engine.contracts.settings import KIND_DEFAULT, PluginField, PluginRef
from engine.core.config.diagnostics import printable
from engine.core.config.fields import fields_of
from engine.core.config.schema import EngineConfig
from engine.core.config.settings_table import type_words
from engine.errors import ConfigError, EngineError

if TYPE_CHECKING:
    from engine.core.registry import Registry

_UNITS = (
    ("minutes", "minutes"),
    ("seconds", "seconds"),
    ("epochs", "epochs"),
    ("steps", "steps"),
)
_QUOTED = re.compile(r"`([^`]+)`")
_NEAR = 5
_BYTES = "whole number ≥ 0 or text"
"""How ``type_words`` names ``engine.contracts.values.Bytes``."""


@dataclass(frozen=True)
class ConfigKey:
    """One key of a config.

    Attributes:
        path: dotted, without the numbers of list items: ``train.stages.batch_size``.
        type: in words.
        required: whether a config must give it.
        default: as YAML writes it; empty where it is required.
        unit: ``bytes``, ``steps``, ``minutes`` ...; empty: none.
        example: a line of YAML.
        description: one line.
        kind: of the plugin that stands there; empty: it is not a plugin.
        plugins: those that may stand there.
    """

    path: str
    type: str
    required: bool
    default: str
    unit: str
    example: str
    description: str
    kind: str = ""
    plugins: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A mapping of JSON types."""
        return asdict(self)


def explain(path: str, registry: Registry) -> list[ConfigKey]:
    """A key and all that stand below it; every key of a config where the path is empty.

    Args:
        path: dotted; numbers of list items may stand in it: ``train.stages.0.lr``.
        registry: the plugins.

    Raises:
        ConfigError: there is no such key; the message names the nearest ones.
    """
    wanted = ".".join(part for part in path.split(".") if part and not part.isdigit())
    keys = list(_keys(EngineConfig, "", registry))
    if not wanted:
        return keys
    found = [key for key in keys if key.path == wanted or key.path.startswith(f"{wanted}.")]
    return found or _of_plugins(wanted, keys, registry)


def _of_plugins(wanted: str, keys: list[ConfigKey], registry: Registry) -> list[ConfigKey]:
    """The keys below a plugin's place.

    Raises:
        ConfigError: no plugin that may stand there has such a key.
    """
    above = [key for key in keys if key.kind and wanted.startswith(f"{key.path}.")]
    known = [key.path for key in keys]
    for key in above:
        rest = wanted.removeprefix(f"{key.path}.").removeprefix("use.")
        below: list[ConfigKey] = []
        for name in key.plugins:
            own = list(plugin_keys(key.kind, name, registry, f"{key.path}.{name}"))
            known += [f"{key.path}.{name}", *(one.path for one in own)]
            first = rest == name or rest.startswith(f"{name}.")
            full = f"{key.path}.{rest}" if first else f"{key.path}.{name}.{rest}"
            below += [k for k in own if k.path == full or k.path.startswith(f"{full}.")]
        if below:
            return below
        if rest in key.plugins:
            raise ConfigError(f"{key.kind} `{rest}` has no settings")
    parent = wanted.rpartition(".")[0]
    for key in keys:
        if key.kind and key.path.rpartition(".")[0] == parent:
            for name in key.plugins:
                below = list(plugin_keys(key.kind, name, registry, f"{key.path}.{name}"))
                known += [one.path for one in below]
    raise ConfigError(
        f"a config has no key `{printable(wanted, 120)}`{_near(wanted, known)}",
        hint="`engine explain` lists every key",
    )


def _near(word: str, known: list[str]) -> str:
    import difflib

    last = word.rpartition(".")[2]
    near = [path for path in known if path.rpartition(".")[2] == last]
    near += difflib.get_close_matches(word[:200], known, n=_NEAR, cutoff=0.6)
    if not near:
        ends: dict[str, list[str]] = {}
        for path in known:
            ends.setdefault(path.rpartition(".")[2], []).append(path)
        for end in difflib.get_close_matches(last[:200], ends, n=_NEAR, cutoff=0.6):
            near += ends[end]
    shown = [f"`{path}`" for path in list(dict.fromkeys(near))[:_NEAR]]
    return f" (did you mean {' or '.join(shown)}?)" if shown else ""


def plugin_keys(kind: str, name: str, registry: Registry, before: str) -> Iterator[ConfigKey]:
    """The keys of one plugin's settings; none where its code does not import."""
    try:
        settings = registry.get(kind, name).load_settings()
    except EngineError:
        return
    yield from _keys(settings, before, registry)


def _keys(settings: type[BaseModel], before: str, registry: Registry) -> Iterator[ConfigKey]:
    schema = settings.model_json_schema()
    defs = schema.get("$defs", {})
    for name, field in fields_of(settings).items():
        path = f"{before}.{name}" if before else name
        shape = schema.get("properties", {}).get(name, {})
        kind = _kind_of(Annotated[(field.annotation, *field.metadata, None)])
        inner = _models(field.annotation)
        words = type_words(shape, defs) if not inner else _words_of(field.annotation)
        default = (
            "" if field.is_required() else _plain(field.get_default(call_default_factory=True))
        )
        yield ConfigKey(
            path=path,
            type=words,
            required=field.is_required(),
            default=default,
            unit=_unit(field, words),
            example=_example(name, field, words, default, kind, registry),
            description=_description(field, inner, kind),
            kind=kind,
            plugins=tuple(registry.names(kind)) if kind else (),
        )
        for one in inner:
            yield from _keys(one, path, registry)


def _kind_of(annotation: Any) -> str:
    """The kind of plugin that an annotation asks for, anywhere inside it."""
    for one in get_args(annotation):
        if isinstance(one, PluginField):
            return one.kind
        if found := _kind_of(one):
            return found
    return ""


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The mappings of settings that an annotation allows."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        is_model = issubclass(annotation, BaseModel)
        return [annotation] if is_model else []
    return [found for one in get_args(annotation) for found in _models(one)]


def _words_of(annotation: Any) -> str:
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_words_of(one) for one in get_args(annotation)))
    if get_origin(annotation) is tuple:
        return "list of mappings"
    simple = {bool: "true or false", type(None): "null"}
    return simple.get(annotation, "mapping")


def _plain(value: Any) -> str:
    """A default as YAML writes it."""
    if value == KIND_DEFAULT:
        return "the default of its kind"
    if value == (KIND_DEFAULT,):
        return "[the default of its kind]"
    if isinstance(value, BaseModel):
        return "as below"
    if isinstance(value, PluginRef):
        return value.name
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(_plain(one) for one in value)}]"
    if isinstance(value, dict):
        inside = ", ".join(f"{key}: {_plain(one)}" for key, one in value.items())
        return f"{{{inside}}}"
    return printable(f'"{value}"' if value in ("", "{}") else str(value), 60)


def _unit(field: FieldInfo, words: str) -> str:
    if words.startswith(_BYTES):
        return "bytes"
    said = (field.description or "").lower()
    if "number" not in words:
        return ""
    return next((unit for word, unit in _UNITS if re.search(rf"\b{word}\b", said)), "")


def _description(field: FieldInfo, inner: list[type[BaseModel]], kind: str) -> str:
    said = field.description or ""
    if not said and inner:
        said = (inner[0].__doc__ or "").strip().partition("\n")[0]
    if not said and kind:
        said = KINDS[kind].description
    return printable(said)


def _example(
    name: str, field: FieldInfo, words: str, default: str, kind: str, registry: Registry
) -> str:
    """A line of YAML: the settings' own example, else one that follows from the type."""
    if field.examples:
        return f"{name}: {_plain(field.examples[0])}"
    if kind:
        names = registry.names(kind)
        use = f"{{use: {names[0] if names else 'NAME'}}}"
        return f"{name}: [{use}]" if "list" in words else f"{name}: {use}"
    if words.startswith(_BYTES):
        return f"{name}: 20 GB"
    if default not in ("", "null", "[]", "{}", "as below"):
        return f"{name}: {default}"
    quoted = _QUOTED.search(field.description or "")
    if quoted is not None and "mapping" not in words:
        return f"{name}: {quoted[1]}"
    if words.startswith("list"):
        return f"{name}: [...]"
    if "mapping" in words:
        return f"{name}: {{...}}"
    if words.startswith("whole number"):
        return f"{name}: {_least(field)}"
    if words.startswith("number"):
        return f"{name}: 0.5"
    if words.startswith("true"):
        return f"{name}: true"
    return f"{name}: {'PATH' if words.startswith('path') else words.strip('`').partition('`')[0]}"


def _least(field: FieldInfo) -> int:
    bounds = [getattr(mark, "ge", None) for mark in field.metadata]
    return max([8, *(int(bound) for bound in bounds if bound is not None)])


def page(registry: Registry) -> str:
    """Every key of a config and of the plugins' settings, as Markdown."""
    lines = [
        "# Config keys",
        "",
        "Every key of a config, from the schema itself: `engine explain KEY` prints the same.",
        "A list's items are named without their numbers. A plugin stands as `use: NAME` with its",
        "settings beside it.",
    ]
    groups: dict[str, list[ConfigKey]] = {}
    for key in _keys(EngineConfig, "", registry):
        groups.setdefault(key.path.partition(".")[0], []).append(key)
    for name, keys in groups.items():
        lines += ["", f"## {name}", "", *_table(keys)]
    for kind in KINDS:
        for plugin in registry.names(kind):
            keys = list(plugin_keys(kind, plugin, registry, ""))
            if keys:
                summary = printable(registry.get(kind, plugin).summary)
                lines += ["", f"## {kind}: {plugin}", "", summary, "", *_table(keys)]
    return "\n".join(lines) + "\n"


def _table(keys: list[ConfigKey]) -> Iterator[str]:
    yield "| key | type | default | example | what it is |"
    yield "| --- | --- | --- | --- | --- |"
    for key in keys:
        unit = f" ({key.unit})" if key.unit else ""
        default = "required" if key.required else f"`{key.default}`"
        cells = (f"`{key.path}`", key.type + unit, default, f"`{key.example}`", key.description)
        yield "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
