"""Projections: from a tower's features into the joint space."""

from __future__ import annotations

from abc import ABC

from torch import Tensor, nn

from engine.contracts.projection_settings import ProjectionSettings
from engine.contracts.state import MixesRows, State
from engine.contracts.tower import VisionTower
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
        out_width: the embedding dimension.
        embedding_width: width E of ``state["token_embeddings"]`` of a text encoder, ``None`` for a
            vision tower.
    """

    mixes_rows: MixesRows = False

    reads: frozenset[str] = frozenset()
    """Entries of the state that this projection reads beside ``pooled``, for example
    ``{"token_embeddings", "mask"}``. The model computes ``token_embeddings`` only where they are
    read. A projection is given these, ``pooled``, and ``cluster`` where a text's cluster is known;
    what it reads and the modality does not give is an error (:func:`project_state`)."""

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
        if embedding_width is None and "token_embeddings" in self.reads:
            raise PluginError(
                f"{type(self).__name__} reads token embeddings, which only the text modality has",
                hint="use it under model.projection.text, and another kind for vision",
            )

    def fit(self, vision: VisionTower) -> str:
        """Compute the weights in closed form, from data that the settings name (default: nothing).

        Engine calls it once, when it builds a model from a config and the vision tower has its
        weights. What is read from an artifact or a checkpoint is not fitted again.

        Args:
            vision: the model's vision tower, to hold the data to
                (:func:`engine.core.fingerprint.check_point`).

        Returns:
            What it was fitted on, in words, for the artifact; empty where nothing was fitted.

        Raises:
            DataError: the data do not fit the model.
        """
        return ""

    def project(self, features: Tensor) -> Tensor:
        """[B, in_width] -> [B, out_width], not normalised."""
        raise PluginError(f"{type(self).__name__} gives neither project() nor forward()")

    def forward(self, state: State) -> State:
        """Return the state with ``embedding`` [B, out_width] added (not normalised)."""
        return {**state, "embedding": self.project(state["pooled"])}


_ALWAYS = frozenset({"pooled", "cluster"})


def project_state(projection: Projection, state: State) -> State:
    """The state with what a projection adds to it.

    The projection is given what its ``reads`` names and no more, so that one that reads an entry
    without saying so fails everywhere, and not in training alone, where the rest is not kept.

    Args:
        projection: the projection of the modality that the state is of.
        state: what the tower gave, with the tokens of texts.

    Raises:
        PluginError: it reads an entry that the state does not have, or one that it does not name.
    """
    name = type(projection).__name__
    if missing := sorted(projection.reads - state.keys()):
        raise PluginError(
            f"the projection {name} reads `{missing[0]}`, which this modality does not give"
            f" (it gives {', '.join(sorted(state))})",
            hint="choose another projection, or a tower that gives it",
        )
    wanted = _ALWAYS | projection.reads
    try:
        found: State = projection({key: state[key] for key in state if key in wanted})
    except KeyError as error:
        key = error.args[0] if error.args else None
        if key in wanted or key not in state:
            raise
        raise PluginError(
            f"the projection {name} reads `{key}`, which its `reads` does not name",
            hint="a fault of the plugin: its author adds the name to `reads`",
        ) from error
    return {**state, **found}
