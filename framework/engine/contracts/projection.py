"""Projections: from a tower's features into the joint space."""

from __future__ import annotations

from abc import ABC
from typing import ClassVar

from torch import Tensor, nn

from engine.contracts.settings import ProjectionSettings
from engine.contracts.state import MixesRows, State
from engine.errors import PluginError


class Projection(nn.Module, ABC):
    """Features [B, in_width] to embedding [B, out_width].

    A simple projection gives :meth:`project` alone. One that looks at more than the features (a
    router that reads the text, say) names what it reads in ``reads`` and overrides :meth:`forward`.

    In eval mode the same state gives the same embedding, and a row's does not depend on the other
    rows, nor on padding. In training every parameter gets a gradient from some batch, and so do the
    features. Frozen, its parameters stay and the features still get their gradient.

    In training mode, too, no row sees the others, unless ``mixes_rows`` says so (see
    :data:`engine.contracts.state.MixesRows`).

    Like a tower it initialises its weights from torch's own random generator; it also builds on the
    meta device. Every tensor it keeps is a parameter or a buffer. Moved to another floating dtype,
    or under autocast, it computes there.

    Args:
        settings: the plugin's settings.
        in_width: width of the tower's features.
        out_width: the joint width.
        embedding_width: width E of ``state["embeddings"]`` on the text side, ``None`` on the
            vision side.
    """

    mixes_rows: MixesRows = False

    reads: ClassVar[frozenset[str]] = frozenset()
    """Entries of the state that this projection reads beside ``features``, for example
    ``{"embeddings", "mask"}``. The model computes ``embeddings`` only where they are read."""

    def __init__(
        self,
        settings: ProjectionSettings,
        in_width: int,
        out_width: int,
        *,
        embedding_width: int | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.in_width, self.out_width = in_width, out_width
        if embedding_width is None and "embeddings" in self.reads:
            raise PluginError(
                f"{type(self).__name__} reads token embeddings, which only the text side has",
                hint="use it under model.projection.text, and another kind for vision",
            )

    def project(self, features: Tensor) -> Tensor:
        """[B, in_width] -> [B, out_width], not normalised."""
        raise PluginError(f"{type(self).__name__} gives neither project() nor forward()")

    def forward(self, state: State) -> State:
        """Return the state with ``embedding`` [B, out_width] added (not normalised)."""
        return {**state, "embedding": self.project(state["features"])}
