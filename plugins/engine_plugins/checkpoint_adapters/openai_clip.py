"""Checkpoints under OpenAI CLIP's names: OpenAI, open_clip, and ruCLIP's second generation."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor

from engine.contracts import CheckpointAdapter
from engine.contracts.description import Description
from engine_plugins.clip_described import openai_numbers

# OpenAI's files carry three numbers of the model; open_clip's once carried the causal mask.
_NO_WEIGHTS = ("input_resolution", "context_length", "vocab_size", "attn_mask")
_OF_THE_MODEL = ("logit_scale", "logit_bias")


class OpenAiClip(CheckpointAdapter):
    """The vision tower under ``visual``; the text transformer at the top, or under ``text``.

    The latter is open_clip's ``CustomTextCLIP``.

    Sources: github.com/openai/CLIP, github.com/mlfoundations/open_clip, package ruclip 0.0.2.
    """

    def matches(self, keys: Collection[str]) -> bool:
        """See the contract."""
        texts = ("token_embedding.weight", "text.token_embedding.weight")
        return (
            any(key.startswith("visual.") for key in keys)
            and any(key in keys for key in texts)
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

    def describe(self, tensors: Mapping[str, Tensor]) -> dict[str, Description]:
        """See the contract: OpenAI's own files are known by three numbers that they carry."""
        found = openai_numbers(tensors, "the file")
        return {} if found is None else {"vision": found, "text": found}
