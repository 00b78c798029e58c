"""A model as a ``SentenceTransformer``: for MTEB, and whatever else takes one.

``engine.load("build/x").as_sentence_transformer()`` has one module, which prepares texts and
pictures as Engine does and computes with Engine's own towers: no file is written, and no number is
another. This file imports sentence-transformers, so it is imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import InputModule
from torch import Tensor

from engine.contracts.tokenizer import Tokenizer
from engine.core.model import DualEncoder
from engine.errors import DataError
from engine.evaluate.sentences import embed, prepare


def sentence_transformer(model: DualEncoder, tokenizer: Tokenizer) -> SentenceTransformer:
    """See :meth:`engine.evaluate.predictor.Predictor.as_sentence_transformer`."""
    module = TowersModule(model, tokenizer)
    made = SentenceTransformer(
        modules=[module], device=str(model.logit_scale.device), similarity_fn_name="cosine"
    )
    made.max_seq_length = module.max_seq_length
    return made


class TowersModule(InputModule):  # type: ignore[misc]
    """Texts or pictures -> ``sentence_embedding`` [B, J], by the model's own towers."""

    def __init__(self, model: DualEncoder, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.model, self._tokenizer = model, tokenizer
        self.max_seq_length = model.text.settings.max_tokens

    @property
    def modalities(self) -> list[str]:
        """Texts and pictures, each list of one kind."""
        return ["text", "image"]

    def preprocess(
        self, inputs: Sequence[Any], prompt: str | None = None, **kwargs: Any
    ) -> dict[str, Tensor]:
        """What the towers take; a prompt stands before every text."""
        given = [prompt + one if prompt and isinstance(one, str) else one for one in inputs]
        return prepare(self.model, self._tokenizer, given)

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Add ``sentence_embedding``, rows of length 1."""
        return {**features, "sentence_embedding": embed(self.model, features)}

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
