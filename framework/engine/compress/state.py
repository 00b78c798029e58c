"""What a fit knows so far, in a file beside its output, so that a stopped one goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from engine.compress.calibration import TowerProbe
from engine.compress.choices import ChoiceItem
from engine.compress.losses import MeasuredLoss, squares
from engine.core.build import Built
from engine.core.files import write_text
from engine.core.strict_json import parse_json
from engine.version import __version__

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


def signature_of(
    built: Built, probes: Mapping[str, TowerProbe], items: Sequence[ChoiceItem]
) -> dict[str, Any]:
    """Everything on which the measured losses depend."""
    sums = {
        name: [float(tensor.sum(dtype=torch.float64)), squares(tensor)]
        for name, tensor in built.model.state_dict().items()
        if tensor.is_floating_point()
    }
    return {
        "engine": __version__,
        "tensors": sums,
        "inputs": {n: [len(p), float(p.reference.double().sum())] for n, p in probes.items()},
        "texts": [batch["ids"].tolist() for batch in probes["text"].inputs],
        "choices": {item.name: [choice.name for choice in item.choices] for item in items},
    }


def known_losses(values: Mapping[str, Any]) -> dict[str, dict[str, MeasuredLoss | None]]:
    """The losses that a state holds; what is not one is left out."""
    found: dict[str, dict[str, MeasuredLoss | None]] = {}
    for name, own in values.items():
        try:
            found[name] = {key: one and MeasuredLoss(**one) for key, one in own.items()}
        except (TypeError, ValueError, AttributeError):
            continue
    return found
