"""DualEncoder: two towers, a projection on each, and the logit scale."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.contracts.projection import Projection, project_state
from engine.contracts.state import State
from engine.contracts.tower import TextEncoder, VisionTower


class DualEncoder(nn.Module):
    """An image-text model: both modalities end as unit vectors of one joint space.

    State dict: ``vision.*``, ``vision_projection.*``, ``text.*``, ``text_projection.*``,
    ``logit_scale`` and, where the model has one, ``logit_bias``. Sources: CLIP (Radford et al.,
    2021, arXiv:2103.00020); the bias is SigLIP's (Zhai et al., 2023, arXiv:2303.15343).

    Args:
        vision: the vision tower.
        text: the text encoder.
        vision_projection: from ``vision.width`` to the embedding dimension.
        text_projection: from ``text.width`` to the embedding dimension.
        logit_scale: logarithm of the factor on cosine similarities, at the start.
        logit_bias: what is added to the scaled similarities, at the start; ``None``: nothing, and
            the model has no such parameter.
    """

    logit_bias: nn.Parameter | None

    def __init__(
        self,
        vision: VisionTower,
        text: TextEncoder,
        vision_projection: Projection,
        text_projection: Projection,
        logit_scale: float,
        logit_bias: float | None = None,
    ) -> None:
        super().__init__()
        self.vision = vision
        self.vision_projection = vision_projection
        self.text = text
        self.text_projection = text_projection
        self.logit_scale = nn.Parameter(torch.tensor(float(logit_scale)))
        bias = None if logit_bias is None else nn.Parameter(torch.tensor(float(logit_bias)))
        self.register_parameter("logit_bias", bias)

    @property
    def embed_dim(self) -> int:
        """Width of the joint space."""
        return self.text_projection.out_width

    def image_state(self, state: State) -> State:
        """``pixels`` [B, 3, S, S] -> the state with ``pooled`` and ``embedding`` [B, J]."""
        reads = self.vision_projection.reads
        return project_state(self.vision_projection, self.vision(state, reads))

    def text_state(self, state: State) -> State:
        """``ids``, ``mask`` [B, L] -> the state with ``pooled`` and ``embedding`` [B, J].

        A projection may add entries (the clustered one adds its router's logits).
        """
        reads = self.text_projection.reads
        out: State = self.text(state, reads)
        if "token_embeddings" in reads and "token_embeddings" not in out:
            out = {**out, "token_embeddings": self.text.embed(state["ids"])}
        return project_state(self.text_projection, {**state, **out})

    def encode_image(self, pixels: Tensor) -> Tensor:
        """[B, 3, S, S] float -> [B, J], rows of length 1."""
        return functional.normalize(self.image_state({"pixels": pixels})["embedding"], dim=-1)

    def encode_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[B, L] int64 and [B, L] bool -> [B, J], rows of length 1."""
        return functional.normalize(
            self.text_state({"ids": ids, "mask": mask})["embedding"], dim=-1
        )

    def forward(self, pixels: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits of every image against every text, [images, texts]: scaled cosine and bias."""
        image, text = self.encode_image(pixels), self.encode_text(ids, mask)
        logits = self.logit_scale.exp() * image @ text.T
        return logits if self.logit_bias is None else logits + self.logit_bias

    def merge(self) -> None:
        """Fold the towers' adapters into their weights (:meth:`Tower.merge`), in place."""
        self.vision.merge()
        self.text.merge()
