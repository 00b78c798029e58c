"""The artifact that a path means: a folder, a training run, or a checkpoint of one by its name."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from engine.core.files import recover

MANIFEST = "engine.json"
"""The file that makes a folder an artifact."""

MODEL = "model"
"""The folder of a training run in which its trained model lies."""

CHECKPOINT_MODELS = "engine.train.checkpoint_model:artifact_at"
"""Gives the folder of a checkpoint's model. It needs the whole of training, which lies above the
core: it is named here and imported when it is needed, as a plugin is."""


def model_folder(path: Path) -> Path:
    """The artifact that a path means: the folder itself, or the trained model of a training run.

    ``RUN@best``, ``RUN@last`` and ``RUN@1200`` are the models of the run's checkpoints; they are
    written where they are not there yet. A path that is nothing of this is given back as it is;
    reading it then says what is wrong with it.

    Raises:
        ArtifactError: a run has no such checkpoint.
    """
    run, at, name = path.name.rpartition("@")
    if at and name and not os.path.lexists(path) and (path.parent / run).is_dir():
        module, _, function = CHECKPOINT_MODELS.partition(":")
        found: Path = getattr(importlib.import_module(module), function)(path.parent / run, name)
        return found
    if path.is_dir() and not os.path.lexists(path / MANIFEST):
        inner = path / MODEL
        if not inner.is_dir():
            recover(inner)  # a writer that was killed between two renames
        if (inner / MANIFEST).is_file():
            return inner
    return path
