"""A model of Engine's as a teacher."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

import engine
from engine.contracts import Teacher
from engine.core.model_path import model_folder
from engine_plugins.teachers.digest import files_digest
from engine_plugins.teachers.settings import ArtifactTeacherSettings


class ArtifactTeacher(Teacher):
    """See :class:`ArtifactTeacherSettings`. Vectors are embeddings of length 1."""

    settings: ArtifactTeacherSettings
    gives = frozenset({"text", "image"})

    def __init__(self, settings: ArtifactTeacherSettings) -> None:
        super().__init__(settings)
        self._model = engine.load(settings.path, device=settings.device)
        self.width = int(self._model.model.embed_dim)

    def identity(self) -> str:
        """See the contract: the files of the artifact."""
        return files_digest(p for p in model_folder(self.settings.path).iterdir() if p.is_file())

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See the contract."""
        return self._model.encode_texts(list(texts))

    def encode_images(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """See the contract."""
        return self._model.encode_images(list(images), batch_size=self.settings.batch_size)
