"""Checkpoints under OpenAI CLIP's names: OpenAI, open_clip, and ruCLIP's second generation."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from engine.contracts import CheckpointAdapter
from engine.contracts.checkpoint_adapter import ModelParts
from engine.contracts.description import Description
from engine_plugins.checkpoint_adapters import open_clip_export
from engine_plugins.clip_described import openai_numbers

# OpenAI's files carry three numbers of the model; open_clip's once carried the causal mask.
_NO_WEIGHTS = ("input_resolution", "context_length", "vocab_size", "attn_mask")
_OF_THE_MODEL = ("logit_scale", "logit_bias")
_TOKENS = (
    "token_embedding.weight",
    "text.token_embedding.weight",
    "text.transformer.embeddings.word_embeddings.weight",
    "text.transformer.embed_tokens.weight",
)
"""The table of tokens: of CLIP's own transformer, of transformers' BERT, of its NLLB."""
_HEADS = {
    "text.proj.": "text_projection.linear.",
    "text.proj.0.": "text_projection.fc1.",
    "text.proj.2.": "text_projection.fc2.",
    "vision.head.proj.": "vision_projection.linear.",
    "vision.head.mlp.fc1.": "vision_projection.fc1.",
    "vision.head.mlp.fc2.": "vision_projection.fc2.",
    "vision.trunk.head.fc.": "vision_projection.linear.",
    "vision.trunk.head.": "vision_projection.linear.",
    "vision.trunk.fc.": "vision_projection.linear.",
    "vision.trunk.classifier.": "vision_projection.linear.",
}
"""Where open_clip keeps a projection inside of a tower: behind a text tower of transformers, behind
a vision tower of timm, or as that one's classifier."""


class OpenAiClip(CheckpointAdapter):
    """The vision tower under ``visual``; the text transformer at the top, or under ``text``.

    The latter is open_clip's ``CustomTextCLIP``; its text tower may be one of transformers, and
    its vision tower one of timm.

    Sources: github.com/openai/CLIP, github.com/mlfoundations/open_clip, package ruclip 0.0.2.
    """

    def matches(self, keys: Collection[str]) -> bool:
        """See the contract."""
        return (
            any(key.startswith("visual.") for key in keys)
            and any(key in keys for key in _TOKENS)
            and not any(key.startswith(("visual_encoder.", "text_encoder.")) for key in keys)
        )

    def rename(self, key: str) -> str | None:
        """See the contract."""
        if key.startswith("visual."):
            return "vision." + key[len("visual.") :]
        if key in _OF_THE_MODEL:
            return key
        own = key.removeprefix("text.")
        return None if own in _NO_WEIGHTS else f"text.{own}"

    def finish(self, tensors: Mapping[str, Tensor], wanted: Collection[str]) -> dict[str, Tensor]:
        """Take projections out of the towers, and make a scale of one number a number."""
        return {_place(name, wanted): scalar(name, tensor) for name, tensor in tensors.items()}

    def to_open_clip(self, parts: ModelParts) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """See the contract."""
        return open_clip_export.describe(parts)

    def describe(self, tensors: Mapping[str, Tensor]) -> dict[str, Description]:
        """See the contract: OpenAI's own files are known by three numbers that they carry."""
        found = openai_numbers(tensors, "the file")
        return {} if found is None else {"vision": found, "text": found}


def _place(name: str, wanted: Collection[str]) -> str:
    stem, _, kind = name.rpartition(".")
    moved = _HEADS.get(f"{stem}.")
    return f"{moved}{kind}" if moved and f"{moved}weight" in wanted else name


def scalar(name: str, tensor: Tensor) -> Tensor:
    """``logit_scale`` and ``logit_bias`` as a number, where a program has a list of one."""
    return tensor.reshape(()) if name in _OF_THE_MODEL and tensor.numel() == 1 else tensor
