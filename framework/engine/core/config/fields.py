"""Which settings stand at a path of a config: the class that would read it, and its names."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from engine.contracts.settings import PluginField, Settings
from engine.core.config.nodes import Node
from engine.errors import PluginError

if TYPE_CHECKING:
    from engine.core.registry import Registry


@dataclass(frozen=True)
class Fields:
    """The settings of one mapping.

    Attributes:
        known: by the name that a config writes.
        owner: ``"projection `residual`"``, where it is a plugin's.
    """

    known: Mapping[str, FieldInfo]
    owner: str | None


def fields_of(settings: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a settings class by the names that a config writes."""
    return {field.alias or name: field for name, field in settings.model_fields.items()}


def fields_at(
    settings: type[Settings], root: Node, parts: Sequence[str | int], registry: Registry
) -> Fields:
    """The settings of the mapping at a path; none where the path leads out of all settings.

    Args:
        settings: the class of the whole.
        root: what was written: it says which plugin's settings a path leads through.
        parts: the path.
        registry: the plugins.
    """
    looked: list[Any] = [settings]
    node: Node | None = root
    owner: str | None = None
    for part in [None, *parts]:
        if part is not None:
            node = _step(node, part)
            looked = [found for one in looked for found in _inside(one, part)]
        owner, looked = _resolve(looked, node, registry)
    classes = [one for one in looked if _is_model(one)]
    known = {name: field for one in classes for name, field in fields_of(one).items()}
    return Fields({"use": FieldInfo(), **known} if owner and known else known, owner)


def _step(node: Node | None, part: str | int) -> Node | None:
    if node is None:
        return None
    if isinstance(node.value, dict):
        return node.value.get(str(part))
    return node.value[part] if isinstance(node.value, list) and isinstance(part, int) else None


def _inside(annotation: Any, part: str | int) -> list[Any]:
    """What the annotation says of its part."""
    if _is_model(annotation):
        field = fields_of(annotation).get(str(part))
        if field is None:
            return []
        whole = field.annotation
        return [Annotated[(whole, *field.metadata)] if field.metadata else whole]
    inner = [one for one in get_args(annotation) if one is not Ellipsis]
    if isinstance(part, int) and len(inner) > part and get_origin(annotation) is tuple:
        return [inner[part] if len(inner) > 1 else inner[0]]
    return inner[-1:]


def _resolve(
    annotations: Sequence[Any], node: Node | None, registry: Registry
) -> tuple[str | None, list[Any]]:
    """Unions opened, and plugins replaced by their settings."""
    owner: str | None = None
    found: list[Any] = []
    waiting = list(annotations)
    while waiting:
        one = waiting.pop()
        if get_origin(one) is Annotated:
            base, *marks = get_args(one)
            kinds = [mark.kind for mark in marks if isinstance(mark, PluginField)]
            if not kinds:
                waiting.append(base)
            elif (settings := _settings_of(kinds[0], node, registry)) is not None:
                assert node is not None
                owner = f"{kinds[0]} `{node.use}`"
                found.append(settings)
        elif get_origin(one) in (Union, types.UnionType):
            waiting += get_args(one)
        else:
            found.append(one)
    return owner, found


def _settings_of(kind: str, node: Node | None, registry: Registry) -> type[Settings] | None:
    if node is None or node.use is None:
        return None
    try:
        return registry.get(kind, node.use).load_settings()
    except PluginError:
        return None


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
