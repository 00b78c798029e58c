"""Sentence encoders as teachers of texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from engine.contracts import Teacher
from engine_plugins.embedders.sentence_transformer import SentenceTransformer, find_folder
from engine_plugins.teachers.digest import files_digest
from engine_plugins.teachers.settings import SentenceTeacherSettings

_FILES = (".safetensors", ".bin", ".json", ".txt", ".model")


class SentenceTeacher(Teacher):
    """See :class:`SentenceTeacherSettings`. Vectors have length 1; a text without words is 0.

    Source of the method: Reimers and Gurevych, "Making Monolingual Sentence Embeddings
    Multilingual using Knowledge Distillation", 2020 (arXiv:2004.09813).
    """

    settings: SentenceTeacherSettings
    gives = frozenset({"text"})

    def __init__(self, settings: SentenceTeacherSettings) -> None:
        super().__init__(settings)
        self._encoder = SentenceTransformer(settings)
        self.width = self._encoder.width

    def identity(self) -> str:
        """See the contract: the files of the model, its settings."""
        folder = find_folder(self.settings.model)
        files = [p for p in folder.rglob("*") if p.suffix in _FILES and p.is_file()]
        settings = self.settings
        precision = "" if settings.precision == "float32" else f" {settings.precision}"
        return f"{files_digest(files)} {settings.max_tokens} {settings.prompt}{precision}"

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See the contract."""
        with self._precision():
            return self._encoder.embed(texts)

    def encode_pieces(self, pieces: Sequence[str]) -> NDArray[np.float32]:
        """See the contract.

        A piece of the model's own vocabulary is read between its marks, and the mean of its last
        hidden states is taken, as model2vec does; others as texts.
        """
        with self._precision():
            return self._encoder.embed_pieces(pieces)

    def _precision(self) -> torch.autocast:
        half = self.settings.precision == "bfloat16"
        return torch.autocast(self._encoder.device.type, torch.bfloat16, enabled=half)
