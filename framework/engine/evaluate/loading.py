"""``engine.load``: a folder becomes a predictor, computed by PyTorch or by onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import torch

from engine.core.build import Built, read_artifact
from engine.core.devices import find_device
from engine.core.model_path import model_folder
from engine.core.progress import Progress, silent
from engine.errors import DataError
from engine.evaluate.predictor import Predictor
from engine.exchange.exported import is_export

Backend = Literal["torch", "onnxruntime"]
"""What computes the towers."""


def load(
    path: str | Path,
    *,
    device: str | torch.device = "cpu",
    backend: Backend | None = None,
    progress: Progress = silent,
) -> Predictor:
    """Read a model, ready for use.

    Args:
        path: an artifact, the folder of a finished training run, ``RUN@best`` or ``RUN@1200`` for
            a checkpoint of one, or an ONNX export.
        device: where it computes: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; ``auto`` takes a GPU
            where there is one.
        backend: ``torch``, or ``onnxruntime`` (on the CPU, with as many threads as PyTorch has at
            this moment): an export as it is, in float32 or int8; of an artifact the float32 export
            beside it, which is made where it is not there yet. ``None``: what the folder is for.
        progress: receives lines of progress.

    Large token tables stay in memory as they are stored (``engine.core.stored_tables``).

    Raises:
        ArtifactError: neither, or one that was changed since it was written.
        ConfigError: it uses plugins that are not installed here.
        DataError: this PyTorch finds no such device; the backend does not run such a folder, or not
            there.
        PluginError: the backend's package is not installed; tells the command that installs it.
    """
    target = find_device(device)
    return Predictor(read_model(Path(path), backend, progress)).to(target)


def read_model(path: Path, backend: str | None = None, progress: Progress = silent) -> Built:
    """What :func:`load` makes a predictor of: the model, on the CPU.

    Args:
        path: as for :func:`load`.
        backend: as for :func:`load`.
        progress: receives lines of progress.

    Raises:
        EngineError: as :func:`load`.
    """
    if backend not in (None, *get_args(Backend)):
        raise DataError(f"backend={backend!r}: expected {' or '.join(get_args(Backend))}")
    path = model_folder(path)
    exported = is_export(path)
    if backend == "torch" and exported:
        raise DataError(
            f"{path} is an export, which PyTorch does not run",
            hint="name the artifact that it came from, or leave out the backend",
        )
    if exported or backend == "onnxruntime":
        from engine.exchange.running import exported_beside, read_exported

        return read_exported(exported_beside(path, progress))
    return read_artifact(path, stored_tables=True)
