"""The weights of an artifact: its file's tensors, decoded as its manifest says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.contracts.storage import DTYPES, StoredArray
from engine.core.registry import Registry
from engine.core.storage_file import decode
from engine.core.weights.checkpoint import read_safetensors
from engine.errors import WeightsError

_CODES = {getattr(torch, dtype.name): code for code, dtype in DTYPES.items()}


def read_weights(path: Path, manifest: Mapping[str, Any], registry: Registry) -> dict[str, Tensor]:
    """The tensors of an artifact's file of weights, float32 where they are weights.

    Args:
        path: the file.
        manifest: the artifact's.
        registry: the plugins, for the storages.

    Raises:
        WeightsError: the file is not whole, or holds a dtype that no storage uses.
        ArtifactError: it does not hold what the manifest says.
    """
    tensors = read_safetensors(path)
    parts = {name: _part(path, name, tensor) for name, tensor in tensors.items()}
    arrays = decode(str(path), manifest.get("storage", []), parts, registry)
    return {
        # What is stored as it is stays the library's own tensor: also in dtypes without an array.
        name: tensors[name]
        if name in parts and array is parts[name].array
        else torch.from_numpy(np.require(array, requirements=["C", "W"]))
        for name, array in arrays.items()
    }


def _part(path: Path, name: str, tensor: Tensor) -> StoredArray:
    code = _CODES.get(tensor.dtype)
    if code is None:
        raise WeightsError(f"{path}: {name} has dtype {tensor.dtype}, which no storage uses")
    carrier = getattr(torch, DTYPES[code].carrier)
    return StoredArray(code, tensor.view(carrier).numpy())


def to_array(tensor: Tensor) -> np.ndarray:
    """A tensor as the storages take it: floating-point numbers as float32, others as they are."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() else tensor).contiguous().numpy()
