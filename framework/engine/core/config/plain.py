"""A config's values as they stand there, unchecked: for pages and messages that only quote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.core.config.diagnostics import Diagnostic, Refused
from engine.core.config.yaml_reader import MAX_BYTES, read_yaml


def plain_values(path: Path) -> dict[str, Any]:
    """The mapping in a file; an empty one where the file is missing or not such a mapping.

    Args:
        path: a resolved config: ``extends`` is not followed.
    """
    diagnostics: list[Diagnostic] = []
    try:
        with path.open("rb") as file:
            found = read_yaml(file.read(MAX_BYTES + 1), path.name, diagnostics).plain()
    except (OSError, Refused):
        return {}
    return found if isinstance(found, dict) else {}


def value_at(config: Any, *keys: str) -> Any:
    """What stands below keys in plain values; ``None`` where there is nothing."""
    for key in keys:
        config = config.get(key) if isinstance(config, dict) else None
    return config


def list_at(config: Any, *keys: str) -> list[Any]:
    """The list below keys; an empty one where there is none."""
    found = value_at(config, *keys)
    return found if isinstance(found, list) else []
