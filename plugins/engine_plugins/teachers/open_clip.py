"""Models of open_clip as teachers.

Source: github.com/mlfoundations/open_clip. Its own code builds the model and fills it; files of
weights are safetensors, or torch files that it reads with ``weights_only``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

from engine.contracts import Teacher
from engine.core.devices import find_device
from engine.core.weights import find_checkpoint
from engine.errors import ConfigError, WeightsError, did_you_mean
from engine_plugins.embedders.sentence_transformer import whole_text
from engine_plugins.teachers.digest import files_digest
from engine_plugins.teachers.settings import BatchedTeacherSettings, OpenClipTeacherSettings


class OpenClipTeacher(Teacher):
    """See :class:`OpenClipTeacherSettings`. Vectors are embeddings of length 1."""

    settings: OpenClipTeacherSettings
    gives = frozenset({"text", "image"})

    def __init__(self, settings: OpenClipTeacherSettings) -> None:
        super().__init__(settings)
        import open_clip

        self._device = find_device(settings.device)

        if open_clip.get_model_config(settings.arch) is None:
            raise ConfigError(
                f"open_clip has no model `{settings.arch}`"
                f"{did_you_mean(settings.arch, open_clip.list_models())}"
            )
        self._file = find_checkpoint(settings.weights)
        try:
            self._model, _, self._transform = open_clip.create_model_and_transforms(
                settings.arch, pretrained=str(self._file), device="cpu"
            )
            self._tokenizer = open_clip.get_tokenizer(settings.arch)
        except Exception as error:  # the library has many ways to fail on a file that does not fit
            lines = str(error).splitlines() or [""]
            raise WeightsError(
                f"open_clip cannot load `{settings.arch}` from {settings.weights}:"
                f" {type(error).__name__}: {lines[0][:300]}"
            ) from error
        self._model.eval().to(self._device)
        self.width = int(self.encode_texts(["a"]).shape[1])

    def identity(self) -> str:
        """See the contract: the architecture and the file of weights."""
        return f"{self.settings.arch} {files_digest([self._file])}"

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See the contract."""
        return in_batches(texts, self.settings, self._texts)

    def encode_images(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """See the contract."""
        return in_batches(images, self.settings, self._images)

    def _texts(self, texts: list[str]) -> Tensor:
        tokens = self._tokenizer([whole_text(text) for text in texts])
        found: Tensor = self._model.encode_text(tokens.to(self._device), normalize=True)
        return found

    def _images(self, images: list[Image]) -> Tensor:
        pixels = torch.stack([self._transform(image) for image in images])
        found: Tensor = self._model.encode_image(pixels.to(self._device), normalize=True)
        return found


def in_batches(
    inputs: Sequence[Any], settings: BatchedTeacherSettings, encode: Callable[[list[Any]], Tensor]
) -> NDArray[np.float32]:
    """Run inputs through a model, some at a time, without gradients."""
    found = []
    with torch.no_grad():
        for start in range(0, len(inputs), settings.batch_size):
            found.append(encode(list(inputs[start : start + settings.batch_size])).float().cpu())
    return np.ascontiguousarray(torch.cat(found).numpy())
