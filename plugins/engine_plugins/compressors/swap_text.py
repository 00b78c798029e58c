"""``swap_text``: another, smaller text encoder takes the place of the model's own.

It keeps the tokenizer and begins with the principal parts of the model's token table; the rest is
learned from the model by distillation. Sources: Reimers and Gurevych, 2020, arXiv:2004.09813 (a
text encoder learns another one's embeddings); the smallest form, a table and a mean, is model2vec's
(github.com/MinishLab/model2vec).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from engine.contracts.compressor import CompressionStep, Compressor, ModelFacts
from engine_plugins.compressors.settings import SwapTextSettings

if TYPE_CHECKING:
    from torch import Tensor

_STATIC, _TRANSFORMER, _PROJECTION = "static", "bpe_transformer", "linear"
_WIDTH, _HEAD = 256, 64
_STD = 0.02


class SwapText(Compressor):
    """The mean of token embeddings, or a small transformer, instead of the text encoder."""

    settings: SwapTextSettings
    needs_training: ClassVar[bool] = True

    @classmethod
    def candidates(cls, model: ModelFacts) -> Sequence[Mapping[str, Any]]:
        """A table and a mean, at most 256 numbers a token, instead of a transformer."""
        width = getattr(model.text, "width", 0)
        return [{"width": min(_WIDTH, width)}] if getattr(model.text, "layers", 0) and width else []

    def plan(self, model: ModelFacts) -> CompressionStep | None:
        """Sets ``text`` and the projection behind it."""
        own, text = self.settings, model.text
        encoder: dict[str, Any] = {
            "use": _STATIC if own.layers == 0 else _TRANSFORMER,
            "tokenizer": text.tokenizer.to_config(),
            "vocab_size": text.vocab_size,
            "max_tokens": text.max_tokens,
            "width": own.width,
        }
        if own.layers:
            encoder |= {"layers": own.layers, "heads": max(1, own.width // _HEAD)}
        blocks = f"{own.layers} blocks" if own.layers else "the mean of its tokens"
        return CompressionStep(
            {"text": encoder, "projection.text": {"use": _PROJECTION}},
            f"another text encoder, {own.width} wide: {blocks}",
            details={"width": own.width, "layers": own.layers},
            work=text.vocab_size,
        )

    def apply(
        self,
        step: CompressionStep,
        tensors: Mapping[str, Tensor],
        shapes: Mapping[str, tuple[int, ...]],
    ) -> dict[str, Tensor]:
        """The token table's principal parts; everything else begins at random, always the same."""
        made: dict[str, Tensor] = {}
        for name, shape in shapes.items():
            if not name.startswith(("text.", "text_projection.")):
                made[name] = tensors[name]
            elif len(shape) == 2 and shape[0] == step.work:
                made[name] = _table(tensors, shape)
            else:
                made[name] = _fresh(name, shape)
        return made


def _table(tensors: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
    """The principal parts of the model's own token table, or a random one."""
    from engine_plugins.text.token_tables import factors

    found = [
        tensor
        for name, tensor in tensors.items()
        if name.startswith("text.") and tensor.dim() == 2 and len(tensor) == shape[0]
    ]
    widest = max(found, key=lambda tensor: tensor.shape[1], default=None)
    if widest is None or widest.shape[1] < shape[1]:
        return _fresh("table", shape)
    return factors(widest, shape[1])[0]


def _fresh(name: str, shape: tuple[int, ...]) -> Tensor:
    """Numbers as a new layer has them: of a norm 1, of a bias 0, else random."""
    import torch

    if len(shape) < 2:
        return torch.ones(shape) if name.endswith(".weight") else torch.zeros(shape)
    draw = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    std = shape[1] ** -0.5 if name.startswith("text_projection.") else _STD
    return torch.randn(shape, generator=draw) * std
