"""The weights of an artifact: its file's tensors, decoded as its manifest says."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.contracts.storage import DTYPES, StoredArray
from engine.core.registry import Registry
from engine.core.storage_file import EncodedTensor, decode
from engine.core.weights.checkpoint import read_safetensors
from engine.errors import WeightsError

_CODES = {getattr(torch, dtype.name): code for code, dtype in DTYPES.items()}


def read_weights(path: Path, manifest: Mapping[str, Any], registry: Registry) -> dict[str, Tensor]:
    """All tensors of an artifact's file of weights: see :func:`read_and_keep`."""
    return read_and_keep(path, manifest, registry, ())[0]


def read_and_keep(
    path: Path, manifest: Mapping[str, Any], registry: Registry, keep: Collection[str]
) -> tuple[dict[str, Tensor], dict[str, EncodedTensor]]:
    """The tensors of an artifact's file of weights, float32 where they are weights.

    Args:
        path: the file.
        manifest: the artifact's.
        registry: the plugins, for the storages.
        keep: names of tensors that stay as they are stored.

    Returns:
        The tensors by name, and those that were kept.

    Raises:
        WeightsError: the file is not whole, or holds a dtype that no storage uses.
        ArtifactError: it does not hold what the manifest says.
    """
    tensors = read_safetensors(path)
    parts = {name: _part(path, name, tensor) for name, tensor in tensors.items()}
    arrays, kept = decode(str(path), manifest.get("storage", []), parts, registry, keep)
    decoded = {
        # What is stored as it is stays the library's own tensor: also in dtypes without an array.
        name: tensors[name]
        if name in parts and array is parts[name].array
        else torch.from_numpy(np.require(array, requirements=["C", "W"]))
        for name, array in arrays.items()
    }
    return decoded, kept


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
