"""CLIP's text transformer, under OpenAI's tensor names.

Own modules rather than open_clip's: importing that package costs seconds and hundreds of
megabytes, and the tower must run in segments. Tests hold it to open_clip's numbers.
Source: github.com/openai/CLIP; Radford et al., 2021, arXiv:2103.00020.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from engine.contracts import Output, State, last_place
from engine.contracts.description import Description, Difference, Table
from engine_plugins import clip_described
from engine_plugins.checkpoint_adapters.transformers_names import clip_part
from engine_plugins.layers import ClipTransformer, first_rows
from engine_plugins.text.clip_settings import PlainClipTextSettings, RuClipTextSettings
from engine_plugins.text.one_place import OnePlaceText

# Of a whole CLIP checkpoint: what is not the text transformer's, or no weight.
_NOT_TEXT = ("visual.", "logit_scale", "logit_bias", "attn_mask")
_NUMBERS = ("input_resolution", "context_length", "vocab_size")  # OpenAI's files carry them


class ClipText(OnePlaceText):
    """Token ids -> features [B, settings.embed_width], taken at the end mark.

    Attention is causal, so nothing behind the end mark changes the features: a batch padded to its
    longest text gives what one padded to 77 gives. ``state["hidden"]`` is [B, L, W].
    """

    settings: PlainClipTextSettings
    causal: ClassVar[bool] = True
    outputs: ClassVar[Mapping[str, Output]] = {
        **OnePlaceText.outputs,
        "hidden": Output("the last block, before the norm", "[B, L, settings.width]"),
    }
    described: ClassVar[tuple[Table, ...]] = clip_described.TEXT

    def __init__(self, settings: PlainClipTextSettings) -> None:
        super().__init__(settings)
        width = settings.width
        self.width, self.embedding_width = settings.embed_width, width
        self.token_embedding = nn.Embedding(settings.vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.empty(settings.max_tokens, width))
        self.transformer = ClipTransformer(
            width,
            settings.layers,
            settings.heads,
            settings.mlp_width,
            activation="quick_gelu" if settings.quick_gelu else "gelu",
        )
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, settings.embed_width))
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_projection, std=width**-0.5)

    def _stem(self, state: State) -> Tensor:
        """Of a text as long as the batch's longest."""
        ids = state["ids"]
        return self.embed(ids) + self.positional_embedding[: ids.shape[1]]

    def _place(self, mask: Tensor) -> Tensor:
        """The end mark's."""
        return last_place(mask)

    def adapt(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take the text part of OpenAI's, open_clip's, ruCLIP's or transformers' CLIP.

        Where ``max_tokens`` is less than the checkpoint's, the first places are taken: attention is
        causal, so a text that fits keeps its features.
        """
        named = clip_part(weights, "text_model", "text_projection.weight", "text_projection")
        if any(name.startswith("text.") for name in named):  # open_clip's CustomTextCLIP
            named = {n[len("text.") :]: t for n, t in named.items() if n.startswith("text.")}
        own = {
            name: tensor
            for name, tensor in named.items()
            if not name.startswith(_NOT_TEXT) and name not in _NUMBERS
        }
        places = own.get("positional_embedding")
        if places is not None:
            own["positional_embedding"] = first_rows(places, self.settings.max_tokens)
        return own

    def described_by(self, description: Description) -> list[Difference]:
        """See the contract. A file of weights alone does not name the activation: reported."""
        found = super().described_by(description) + clip_described.end_differences(description)
        if isinstance(self.settings, RuClipTextSettings):
            return found
        return found + clip_described.unknown_activation(self, description)

    def describe(self, weights: Mapping[str, Tensor]) -> Description | None:
        """See the contract: OpenAI's own files are known by three numbers that they carry."""
        return clip_described.openai_numbers(weights, "the file")
