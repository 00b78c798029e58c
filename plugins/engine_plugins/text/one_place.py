"""What the text transformers of CLIP and its relatives share: a head that reads one place."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from engine.contracts import Segment, State, TextEncoder, segments_of, take, take_place
from engine_plugins.layers import ClipTransformer, Places, causal_to


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
        last = len(self.transformer.resblocks)
        state, taken = dict(state), None
        if start == 0 < stop:
            state["hidden"] = self._stem(state)
        # The head reads one place only, so the last block need not make the others.
        one_place = start <= last < stop - 1 and last > 0 and "hidden" not in keep
        blocks = range(max(start, 1), min(stop, last + 1 - one_place))
        if blocks:
            ids = state["ids"] if start == 0 else None  # hidden states may come from elsewhere
            state["hidden"] = self._blocks(state["hidden"], ids, state["mask"], blocks)
        if one_place:
            place = self._place(state["mask"])
            seen = causal_to(place, state["hidden"].shape[1]) if self.causal else None
            taken = self.transformer.block(last - 1).at(state["hidden"], place, mask=seen)
        if start <= last + 1 < stop:
            hidden = take(state, "hidden", keep)
            if taken is None:
                taken = take_place(hidden, self._place(state["mask"]))
            state["pooled"] = self._project(self.ln_final(taken))
        return state

    def _blocks(self, hidden: Tensor, ids: Tensor | None, mask: Tensor, indices: range) -> Tensor:
        """[B, L, W] -> [B, L, W]: some blocks, counted from 1.

        ``ids`` [B, L] are given where ``hidden`` depends on nothing else.
        """
        places = Places.of(ids, mask) if self.causal else None
        if places is not None:
            hidden = places.take(hidden)
        for index in indices:
            hidden = self.transformer.block(index - 1)(hidden, causal=self.causal, places=places)
        return hidden if places is None else places.spread(hidden)

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
