"""What the text transformers of CLIP and its relatives share: a head that reads one place."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from engine.contracts import Segment, State, TextEncoder, segments_of, take, take_place
from engine_plugins.layers import ClipTransformer, causal_to


class OnePlaceText(TextEncoder):
    """A text transformer under the names of OpenAI's CLIP, whose head reads one place of a text.

    ``__init__`` of a derived class makes ``token_embedding``, ``positional_embedding``,
    ``transformer``, ``ln_final`` and ``text_projection`` (``None``: without one).
    """

    causal: ClassVar[bool]
    """Whether a place sees only those before it."""

    token_embedding: nn.Embedding
    positional_embedding: nn.Parameter
    transformer: ClipTransformer
    ln_final: nn.LayerNorm
    text_projection: nn.Linear | nn.Parameter | None

    def segments(self) -> list[Segment]:
        """Stem: both embeddings. Head: ``ln_final`` and ``text_projection``."""
        own = self.text_projection
        return segments_of(
            [self.token_embedding, self.positional_embedding],
            list(self.transformer.resblocks),
            [self.ln_final] if own is None else [self.ln_final, own],
        )

    def embed(self, ids: Tensor) -> Tensor:
        """[B, L] int64 -> [B, L, W]."""
        embedded: Tensor = self.token_embedding(ids)
        return embedded

    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        """See the contract."""
        head = len(self.transformer.resblocks) + 1
        one_place = stop > head and "hidden" not in keep
        state, taken = dict(state), None
        for index in range(start, stop):
            if index == 0:
                state["hidden"] = self._stem(state)
            elif index == head:
                hidden = take(state, "hidden", keep)
                if taken is None:
                    taken = take_place(hidden, self._place(state["mask"]))
                state["pooled"] = self._project(self.ln_final(taken))
            elif index == head - 1 and one_place:  # the head reads one place only
                place = self._place(state["mask"])
                seen = causal_to(place, state["hidden"].shape[1]) if self.causal else None
                taken = self.transformer.block(index - 1).at(state["hidden"], place, mask=seen)
            else:
                block = self.transformer.block(index - 1)
                state["hidden"] = block(state["hidden"], causal=self.causal)
        return state

    @abstractmethod
    def _stem(self, state: State) -> Tensor:
        """``ids`` and ``mask`` [B, L] -> what the first block reads, [B, places, W]."""

    @abstractmethod
    def _place(self, mask: Tensor) -> Tensor:
        """[B, L] bool -> [B] int64: the place that the head reads."""

    def _project(self, features: Tensor) -> Tensor:
        """[B, W] -> [B, settings.embed_width]."""
        projection = self.text_projection
        if isinstance(projection, nn.Linear):
            projected: Tensor = projection(features)
            return projected
        return features if projection is None else features @ projection
