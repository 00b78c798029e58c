"""The module of :mod:`engine.evaluate.sentences`: it imports sentence-transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sentence_transformers.base.modules import InputModule
from torch import Tensor

from engine.errors import DataError
from engine.evaluate.sentences import embed, prepare

if TYPE_CHECKING:
    from engine.evaluate.predictor import Predictor


class TowersModule(InputModule):  # type: ignore[misc]
    """Texts or pictures -> ``sentence_embedding`` [B, J], by a predictor's own functions."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.model = predictor.model
        self._predictor = predictor
        self.max_seq_length = predictor.model.text.settings.max_tokens

    @property
    def modalities(self) -> list[str]:
        """Texts and pictures, each list of one kind."""
        return ["text", "image"]

    def preprocess(
        self, inputs: Sequence[Any], prompt: str | None = None, **kwargs: Any
    ) -> dict[str, Tensor]:
        """What the towers take; a prompt stands before every text."""
        given = [prompt + one if prompt and isinstance(one, str) else one for one in inputs]
        return prepare(self._predictor, given)

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Add ``sentence_embedding``, rows of length 1."""
        return {**features, "sentence_embedding": embed(self._predictor, features)}

    def get_sentence_embedding_dimension(self) -> int:
        """The width of the joint space."""
        return self.model.embed_dim

    def get_embedding_dimension(self) -> int:
        """The width of the joint space."""
        return self.model.embed_dim

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:
        """It is an artifact already.

        Raises:
            DataError: always.
        """
        raise DataError(
            "a model of Engine in memory is not saved by sentence-transformers",
            hint="its artifact is the file; `engine export` writes the forms of other programs",
        )
