"""What a fit knows so far, in a file beside its output, so that a stopped one goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.core.files import write_text
from engine.core.strict_json import parse_json

_MAX_BYTES = 64 << 20


class FitState:
    """The measured losses of one fit.

    A state of another model, other inputs or another version is not taken up.

    Args:
        path: the file.
        signature: everything on which the measured numbers depend (JSON types).
    """

    def __init__(self, path: Path, signature: Mapping[str, Any]) -> None:
        self.path = path
        text = json.dumps(signature, sort_keys=True, ensure_ascii=False)
        self._key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        self.values: dict[str, Any] = self._read()

    def _read(self) -> dict[str, Any]:
        try:
            with self.path.open("rb") as file:
                found = parse_json(file.read(_MAX_BYTES))
        except (OSError, ValueError):
            return {}
        if not isinstance(found, dict) or found.get("key") != self._key:
            return {}
        values = found.get("values")
        return values if isinstance(values, dict) else {}

    def keep(self, name: str, value: Any) -> None:
        """Remember a value (JSON types), on disk at once."""
        self.values[name] = value
        document = {"key": self._key, "values": self.values}
        write_text(self.path, json.dumps(document, ensure_ascii=False, allow_nan=False))

    def remove(self) -> None:
        """The fit is done: the file is no longer needed."""
        self.path.unlink(missing_ok=True)
