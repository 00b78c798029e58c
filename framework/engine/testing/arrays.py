"""What embedders and clusterers promise of their arrays."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import ArtifactError
from engine.testing.common import call, must_raise
from engine.testing.core import NotApplicable, fault


def through_a_file(plugin: Any) -> dict[str, np.ndarray[Any, Any]]:
    """The plugin's arrays, written to a file of safetensors and read again."""
    from safetensors.numpy import load_file, save_file

    found = call(plugin.arrays, expected="arrays() to give named arrays")
    if not isinstance(found, dict) or not all(isinstance(a, np.ndarray) for a in found.values()):
        fault("a dictionary of numpy arrays", repr(found)[:200])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "arrays.safetensors"
        call(save_file, {name: np.ascontiguousarray(array) for name, array in found.items()}, path,
             expected="arrays that safetensors can hold")  # fmt: skip
        loaded: dict[str, np.ndarray[Any, Any]] = load_file(path)
    return loaded


def refuses_others(plugin: Any, own: dict[str, np.ndarray[Any, Any]]) -> None:
    """Arrays that are missing, of another name or another type are an ArtifactError."""
    if not own:
        raise NotApplicable("it keeps no arrays")
    name = sorted(own)[0]
    cases: dict[str, dict[str, np.ndarray[Any, Any]]] = {
        "no arrays": {},
        f"`{name}` missing": {key: array for key, array in own.items() if key != name},
        f"`{name}` under another name": {**own, "no_such": own[name]},
        f"`{name}` of another type": {**own, name: np.zeros(3, np.complex64)},
    }
    del cases[f"`{name}` under another name"][name]
    for what, arrays in cases.items():
        must_raise(ArtifactError, plugin.load_arrays, arrays,
                   expected=f"an ArtifactError from load_arrays for {what}")  # fmt: skip
