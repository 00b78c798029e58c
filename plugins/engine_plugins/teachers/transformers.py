"""Models of transformers that have text and image features, as teachers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor
from torch.nn import functional

from engine.contracts import Teacher
from engine.core.devices import find_device
from engine.core.sources import find_source
from engine.errors import ConfigError, WeightsError
from engine_plugins.embedders.sentence_transformer import whole_text
from engine_plugins.teachers.digest import files_digest
from engine_plugins.teachers.open_clip import in_batches
from engine_plugins.teachers.settings import TransformersTeacherSettings

_NEEDED = ("config.json", "model.safetensors")
_FILES = (*_NEEDED, "preprocessor_config.json", "processor_config.json", "tokenizer.json",
          "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json",
          "merges.txt", "spiece.model")  # fmt: skip
_LONGEST = 64


class TransformersTeacher(Teacher):
    """See :class:`TransformersTeacherSettings`. Vectors have length 1.

    Remote code is refused, and so are weights that are not safetensors. Texts are padded to one
    length, as SigLIP wants it, and cut at 64 tokens.
    """

    settings: TransformersTeacherSettings
    gives = frozenset({"text", "image"})

    def __init__(self, settings: TransformersTeacherSettings) -> None:
        super().__init__(settings)
        self._files = find_source(settings.model, _FILES, needs=[_NEEDED])
        folder = next(iter(self._files.values())).parent
        import transformers

        self._device = find_device(settings.device)

        local = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._model: Any = transformers.AutoModel.from_pretrained(
                folder, use_safetensors=True, **local
            ).eval()
            if not hasattr(self._model, "get_text_features"):
                raise ConfigError(
                    f"{settings.model} is a {type(self._model).__name__}, which has no text"
                    " features",
                    hint="for a sentence encoder use the teacher `sentence_transformer`",
                )
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, **local)
            self._pictures: Any = transformers.AutoImageProcessor.from_pretrained(folder, **local)
        except ConfigError:
            raise
        except Exception as error:  # the library has many ways to fail on a broken folder
            lines = str(error).splitlines() or [""]
            raise WeightsError(
                f"{settings.model} cannot be used: {type(error).__name__}: {lines[0][:300]}",
                hint=f"its folder is {folder}",
            ) from error
        self._model.to(self._device)
        self.width = int(self.encode_texts(["a"]).shape[1])

    def identity(self) -> str:
        """See the contract: the files of the model."""
        return files_digest(self._files.values())

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See the contract."""
        return in_batches(texts, self.settings, self._texts)

    def encode_images(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """See the contract."""
        return in_batches(images, self.settings, self._images)

    def _texts(self, texts: list[str]) -> Tensor:
        longest = min(_LONGEST, int(getattr(self._tokenizer, "model_max_length", _LONGEST)))
        tokens = self._tokenizer(
            [whole_text(text) for text in texts],
            padding="max_length",
            truncation=True,
            max_length=longest,
            return_tensors="pt",
        )
        return _unit(self._model.get_text_features(**tokens.to(self._device)))

    def _images(self, images: list[Image]) -> Tensor:
        pixels = self._pictures(images=images, return_tensors="pt")
        return _unit(self._model.get_image_features(**pixels.to(self._device)))


def _unit(found: Any) -> Tensor:
    """Rows of length 1; newer versions of the library wrap the features."""
    features = found if isinstance(found, Tensor) else found.pooler_output
    return functional.normalize(features, dim=-1)
