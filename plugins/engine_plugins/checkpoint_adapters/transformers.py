"""Checkpoints of the library transformers: ``CLIPModel`` and ``VisionTextDualEncoderModel``.

Both name their tensors alike: ``vision_model.*``, ``text_model.*``, ``visual_projection.weight``,
``text_projection.weight``, ``logit_scale``. The vision tower is CLIP's, the text tower CLIP's or
BERT's. Engine's towers of these architectures are OpenAI's and BERT's own, so CLIP's three matrices
of attention become one, and a projection of CLIP lies transposed inside of the tower, or stands
beside it as the projection ``linear``, as the config has it.

Source: github.com/huggingface/transformers, ``modeling_clip.py`` and
``modeling_vision_text_dual_encoder.py`` (version 5; version 4 puts ``vision_model.`` twice).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from engine.contracts import CheckpointAdapter
from engine.contracts.checkpoint_adapter import ModelParts, TransformersModel
from engine.errors import WeightsError
from engine_plugins.checkpoint_adapters import transformers_names as names
from engine_plugins.checkpoint_adapters.transformers_export import describe
from engine_plugins.text.padded import PaddedText

_MATRICES = {
    "visual_projection.weight": "vision_projection.weight",
    "text_projection.weight": "text_projection.weight",
}
_POOLER = "text.pooler.dense.weight"
_OWN = {"vision": "vision.proj", "text": "text.text_projection"}


class Transformers(CheckpointAdapter):
    """See the module. It also goes the other way, for ``engine export --to transformers``."""

    def matches(self, keys: Collection[str]) -> bool:
        """See the contract."""
        parts = ("vision_model.", "text_model.")
        return all(matrix in keys for matrix in _MATRICES) and all(
            any(key.startswith(part) for key in keys) for part in parts
        )

    def rename(self, key: str) -> str | None:
        """See the contract.

        CLIP's queries, keys and values, both projections and BERT's pooler get names that no part
        of Engine has: :meth:`finish` puts them where they belong.
        """
        if key in _MATRICES:
            return _MATRICES[key]
        key = names.flat(key)
        tower, _, own = key.partition(".")
        if tower not in ("vision_model", "text_model"):
            return key
        if own.endswith(names.NO_WEIGHTS):
            return None
        return f"{tower.removesuffix('_model')}.{names.to_engine(tower, own)}"

    def finish(self, tensors: Mapping[str, Tensor], wanted: Collection[str]) -> dict[str, Tensor]:
        """Join, transpose and fold what :meth:`rename` could not.

        Args:
            tensors: by the names that :meth:`rename` gave them.
            wanted: the names that the model has, which say where a projection goes.

        Raises:
            WeightsError: BERT's pooler is there and does something, and the model has none.
        """
        done = names.join_attention(tensors)
        if _POOLER not in wanted:
            _fold_pooler(done)
        for tower, own in _OWN.items():
            matrix, linear = f"{tower}_projection.weight", f"{tower}_projection.linear.weight"
            if matrix not in done:
                continue
            given = done.pop(matrix)
            if own in wanted:
                done[own] = given.t().contiguous() if given.dim() == 2 else given
            elif linear in wanted or not _is_identity(given):
                done[linear] = given
        return done

    def to_transformers(self, parts: ModelParts) -> TransformersModel | None:
        """See the contract."""
        if isinstance(parts.text, PaddedText):
            return None  # SigLIP's: another adapter says of it what is to be said
        return TransformersModel(*describe(
            parts.vision, parts.vision_projection, parts.text, parts.text_projection, parts.end_mark
        ))  # fmt: skip


def _is_identity(matrix: Tensor) -> bool:
    return matrix.dim() == 2 and matrix.shape[0] == matrix.shape[1] and _is_multiple(matrix, 1.0)


def _is_multiple(matrix: Tensor, factor: float) -> bool:
    return torch.equal(matrix, factor * torch.eye(len(matrix), dtype=matrix.dtype))


def _fold_pooler(tensors: dict[str, Tensor]) -> None:
    """Take out a pooler that passes the first token on, as the export writes it; in place.

    Raises:
        WeightsError: it is another one.
    """
    weight = tensors.pop("text.pooler.dense.weight", None)
    bias = tensors.pop("text.pooler.dense.bias", None)
    if weight is None and bias is None:
        return
    factor = names.POOLER_FACTOR
    passes = (
        weight is not None
        and bias is not None
        and weight.is_floating_point()
        and weight.shape == (bias.numel(), bias.numel())
        and _is_multiple(weight, factor)
        and not bool(bias.any())
    )
    matrix = tensors.get("text_projection.weight")
    if not passes or matrix is None:
        raise WeightsError(
            "its text tower is BERT with a pooler (a matrix and tanh before the projection), and"
            " the config's text encoder has none",
            hint="set `model.text.pooling: pooler`; only a pooler that passes the first token on,"
            " as `engine export --to transformers` writes it, may be left out",
        )
    tensors["text_projection.weight"] = matrix * factor
