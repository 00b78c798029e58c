"""Checkpoints of CLIP by Sber, first generation: one projection, or one for each cluster."""

from __future__ import annotations

import re
from collections.abc import Collection

from engine.contracts import CheckpointAdapter

# The causal mask that transformers once kept as a buffer of each block.
_MASKS = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")
_OF_CLUSTER = re.compile(r"text_encoder\.projection\.(\d+)\.(.+)")
_PREFIXES = {
    "visual_encoder.model.": "vision.",
    "visual_encoder.projection.": "vision_projection.",
    "text_encoder.projection.": "text_projection.",
    "text_encoder.distribution_cls.input_cls.resblocks.": "text_projection.router.blocks.",
    "text_encoder.distribution_cls.output_cls.": "text_projection.router.output.",
}
_TEXT = ("text_encoder.model.transformer.", "text_encoder.model.")


class RuClipFirst(CheckpointAdapter):
    """OpenAI's vision tower and GPT-2 under ``*_encoder.model``, projections beside them.

    With clusters, the projections stand at the even numbers (identities stood between), and the
    router under ``distribution_cls``.

    Sources: github.com/ai-forever/ru-clip (``ViT-B32-small.pt``), github.com/SkylarPro/YandexCupCV.
    """

    def matches(self, keys: Collection[str]) -> bool:
        """See the contract."""
        return all(
            any(key.startswith(prefix) for key in keys)
            for prefix in ("visual_encoder.model.", "text_encoder.model.")
        )

    def rename(self, key: str) -> str | None:
        """See the contract."""
        for prefix in _TEXT:
            if key.startswith(prefix):
                own = key[len(prefix) :]
                return None if _MASKS.fullmatch(own) else f"text.{own}"
        cluster = _OF_CLUSTER.fullmatch(key)
        if cluster and int(cluster[1]) % 2 == 0:
            return f"text_projection.projections.{int(cluster[1]) // 2}.{cluster[2]}"
        for old, new in _PREFIXES.items():
            if key.startswith(old):
                return new + key[len(old) :]
        return key
