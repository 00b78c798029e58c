"""Checkpoints of transformers' ``SiglipModel``: SigLIP, SigLIP i18n, and SigLIP 2 of fixed size."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor

from engine.contracts import CheckpointAdapter
from engine.contracts.checkpoint_adapter import ModelParts, TransformersModel
from engine.errors import WeightsError
from engine_plugins.checkpoint_adapters import siglip_export
from engine_plugins.checkpoint_adapters import siglip_names as names
from engine_plugins.checkpoint_adapters.openai_clip import scalar
from engine_plugins.checkpoint_adapters.transformers_names import join_attention

_NAFLEX = "vision.model.patch_embed.proj.weight"


class Siglip(CheckpointAdapter):
    """The vision tower is timm's, the text transformer `siglip`; both projections `identity`.

    Source: github.com/huggingface/transformers, ``modeling_siglip.py`` (5.24).
    """

    def matches(self, keys: Collection[str]) -> bool:
        """See the contract."""
        return (
            "text_model.head.weight" in keys
            and "vision_model.embeddings.patch_embedding.weight" in keys
        )

    def rename(self, key: str) -> str | None:
        """See the contract."""
        tower, _, own = key.partition(".")
        if own == "embeddings.position_ids":
            return None
        if tower == "text_model":
            return f"text.{names.text_name(own)}"
        if tower == "vision_model":
            return f"vision.model.{names.vision_name(own)}"
        return key

    def to_transformers(self, parts: ModelParts) -> TransformersModel | None:
        """See the contract."""
        return siglip_export.describe(parts)

    def finish(self, tensors: Mapping[str, Tensor], wanted: Collection[str]) -> dict[str, Tensor]:
        """Join queries, keys and values; split the pooling head's.

        Raises:
            WeightsError: it is a NaFlex model.
        """
        if (patches := tensors.get(_NAFLEX)) is not None and patches.dim() == 2:
            raise WeightsError(
                "it is a NaFlex model of SigLIP 2: it takes patches of pictures of any"
                " proportions, and Engine's vision towers take square pictures",
                hint="use a SigLIP 2 of a fixed size (its name ends with the size: patch16-256)",
            )
        prefix = "vision.model."
        own = {n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)}
        others = {n: scalar(n, t) for n, t in tensors.items() if not n.startswith(prefix)}
        vision = {prefix + name: tensor for name, tensor in names.timm_tensors(own).items()}
        return join_attention(others) | vision
