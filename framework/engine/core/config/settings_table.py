"""The settings of a plugin as rows for a person: name, type, default, what it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from engine.contracts.settings import Settings
from engine.core.config.diagnostics import printable

_TYPES = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "object": "mapping",
    "array": "list",
    "null": "null",
}
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_REF = "#/$defs/"


@dataclass(frozen=True)
class SettingRow:
    """One setting.

    Attributes:
        name: as a config writes it, ``"weights.from"``.
        type: in words; a kind's name where it is a plugin of that kind.
        required: whether a config must give it.
        default: as JSON has it; ``None`` too where it is required.
        description: one line.
    """

    name: str
    type: str
    required: bool
    default: Any
    description: str

    def to_json(self) -> dict[str, Any]:
        """A mapping of JSON types."""
        return asdict(self)


def settings_table(settings: type[Settings]) -> list[SettingRow]:
    """Every setting of a class, those of nested mappings by their dotted names.

    Raises:
        ValueError, TypeError, pydantic.errors.PydanticUserError: a plugin's own types have no
            JSON Schema.
    """
    schema = settings.model_json_schema()
    return list(_rows(schema, schema.get("$defs", {}), "", None))


def _rows(
    schema: dict[str, Any], defs: dict[str, Any], before: str, over: Any
) -> Iterator[SettingRow]:
    """Rows of a mapping.

    Args:
        schema: of the mapping.
        defs: what it refers to.
        before: path before its names.
        over: the default of the mapping as a whole, which goes before those of its settings.
    """
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        default = over[name] if isinstance(over, dict) and name in over else field.get("default")
        inner = _resolved(field, defs)
        if "properties" in inner:
            yield from _rows(inner, defs, f"{before}{name}.", default)
            continue
        yield SettingRow(
            before + name,
            type_words(field, defs),
            name in required and over is None,
            default,
            printable(field.get("description", inner.get("description", ""))),
        )


def _resolved(field: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    reference = field.get("$ref", "")
    found: dict[str, Any] = defs.get(reference.removeprefix(_REF), field) if reference else field
    return found


def type_words(schema: dict[str, Any], defs: dict[str, Any]) -> str:
    """``"whole number ≥ 1"``, ``"projection"``, ``"`train` or `test`"``."""
    schema = _resolved(schema, defs)
    if "x-engine-kind" in schema:
        return str(schema["x-engine-kind"])
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(type_words(one, defs) for one in schema[key]))
    if "const" in schema or "enum" in schema:
        values = schema.get("enum", [schema.get("const")])
        return " or ".join(f"`{value}`" for value in values)
    if schema.get("format") == "path":
        return "path"
    if "prefixItems" in schema:
        return f"[{', '.join(type_words(one, defs) for one in schema['prefixItems'])}]"
    words = _TYPES.get(str(schema.get("type")), "anything")
    if isinstance(schema.get("items"), dict) and words == "list":
        words = f"list of {type_words(schema['items'], defs)}"
    bounds = [f"{sign} {schema[key]}" for key, sign in _BOUNDS.items() if key in schema]
    return " ".join([words, ", ".join(bounds)]).strip()
