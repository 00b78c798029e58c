"""CLIP's vision transformer, under OpenAI's tensor names (without ``visual.``).

Own modules rather than open_clip's: see ``engine_plugins.text.clip``.
Source: github.com/openai/CLIP; Radford et al., 2021, arXiv:2103.00020.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from engine.contracts import (
    Output,
    Segment,
    SquarePreprocess,
    State,
    VisionTower,
    segments_of,
    take,
)
from engine.contracts.description import Description, Difference, Table
from engine_plugins import clip_described
from engine_plugins.checkpoint_adapters.transformers_names import clip_part
from engine_plugins.layers import ClipTransformer, random_parameter
from engine_plugins.vision.settings import PlainClipVisionSettings, RuClipVisionSettings


class ClipVision(VisionTower):
    """Pixels -> features at the class token, through CLIP's own projection where it is kept.

    ``state["hidden"]`` is [B, 1 + patches, W], the class token first.
    """

    settings: PlainClipVisionSettings
    outputs: ClassVar[Mapping[str, Output]] = {
        **VisionTower.outputs,
        "hidden": Output("the last block, the class token first", "[B, places, settings.width]"),
    }
    proj: nn.Parameter | None
    described: ClassVar[tuple[Table, ...]] = clip_described.VISION

    def __init__(self, settings: PlainClipVisionSettings) -> None:
        super().__init__(settings)
        width, patch = settings.width, settings.patch_size
        self.width = settings.embed_width if settings.project else width
        self.preprocess = SquarePreprocess(
            settings.image_size,
            mean=settings.mean,
            std=settings.std,
            resize=settings.resize,
            interpolation=settings.interpolation,
        )
        scale = width**-0.5
        self.class_embedding = random_parameter(scale, width)
        self.positional_embedding = random_parameter(scale, settings.places, width)
        self.conv1 = nn.Conv2d(3, width, kernel_size=patch, stride=patch, bias=False)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = ClipTransformer(
            width,
            settings.layers,
            settings.heads,
            settings.mlp_width,
            activation="quick_gelu" if settings.quick_gelu else "gelu",
        )
        self.ln_post = nn.LayerNorm(width)
        projection = random_parameter(scale, width, settings.embed_width)
        self.proj = projection if settings.project else None

    def segments(self) -> list[Segment]:
        """Stem: patches, class token, positions, ``ln_pre``. Head: ``ln_post`` and ``proj``."""
        return segments_of(
            [self.conv1, self.class_embedding, self.positional_embedding, self.ln_pre],
            list(self.transformer.resblocks),
            [self.ln_post] if self.proj is None else [self.ln_post, self.proj],
        )

    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        """See the contract."""
        head = len(self.transformer.resblocks) + 1
        one_place = stop > head and "hidden" not in keep
        state, taken = dict(state), None
        for index in range(start, stop):
            if index == 0:
                state["hidden"] = self._stem(state.pop("pixels"))
            elif index == head:
                hidden = take(state, "hidden", keep)
                features = self.ln_post(hidden[:, 0] if taken is None else taken)
                state["pooled"] = features if self.proj is None else features @ self.proj
            elif index == head - 1 and one_place:  # the head reads the class token only
                first = state["hidden"].new_zeros(len(state["hidden"]), dtype=torch.int64)
                taken = self.transformer.block(index - 1).at(state["hidden"], first)
            else:
                state["hidden"] = self.transformer.block(index - 1)(state["hidden"])
        return state

    def _stem(self, pixels: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, 1 + patches, W]."""
        patches = self.conv1(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(patches), 1, -1)
        hidden = torch.cat([first, patches], dim=1) + self.positional_embedding
        normed: Tensor = self.ln_pre(hidden)
        return normed

    def adapt(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take the vision part of OpenAI's, open_clip's, ruCLIP's or transformers' CLIP."""
        named = clip_part(weights, "vision_model", "visual_projection.weight", "proj")
        if any(name.startswith("visual.") for name in named):
            prefix = len("visual.")
            named = {n[prefix:]: t for n, t in named.items() if n.startswith("visual.")}
        if self.proj is None:
            named.pop("proj", None)
        return named

    def described_by(self, description: Description) -> list[Difference]:
        """See the contract. A file of weights alone does not name the activation: reported."""
        found = super().described_by(description)
        if isinstance(self.settings, RuClipVisionSettings):
            return found
        return found + clip_described.unknown_activation(self, description)

    def describe(self, weights: Mapping[str, Tensor]) -> Description | None:
        """See the contract: OpenAI's own files are known by three numbers that they carry."""
        return clip_described.openai_numbers(weights, "the file")
