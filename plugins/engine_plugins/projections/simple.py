"""Projections that read the features alone."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from engine.contracts import Projection, VisionTower
from engine.contracts.filling import fill
from engine.core.weights import fetch
from engine_plugins.layers import QuickGelu
from engine_plugins.projections.settings import (
    IdentitySettings,
    LinearSettings,
    MlpSettings,
    ResidualSettings,
)


class Identity(Projection):
    """The features are the embedding; for towers that keep a projection of their own.

    Raises:
        ConfigError: the features are not as wide as the joint space.
    """

    def __init__(
        self,
        settings: IdentitySettings,
        in_width: int,
        out_width: int,
        *,
        embedding_width: int | None = None,
    ) -> None:
        settings.check(in_width, out_width)
        super().__init__(settings, in_width, out_width, embedding_width=embedding_width)

    def project(self, features: Tensor) -> Tensor:
        """[B, J] -> the same [B, J]."""
        return features


class Linear(Projection):
    """One matrix, ``linear``, with a bias where the settings say so."""

    settings: LinearSettings

    def __init__(
        self,
        settings: LinearSettings,
        in_width: int,
        out_width: int,
        *,
        embedding_width: int | None = None,
    ) -> None:
        super().__init__(settings, in_width, out_width, embedding_width=embedding_width)
        self.linear = nn.Linear(in_width, out_width, bias=settings.bias)

    def fit(self, vision: VisionTower) -> str:
        """See the contract: ``settings.start``."""
        start = self.settings.start
        if start is None:
            return ""
        source = f"artifact:{start.artifact}"
        fill(
            self, fetch(source, f"{start.side}_projection"), source,
            misfit=f"the {start.side} projection of {source} is not this matrix",
            hint="it is of another kind or width, or has no bias where this one has one",
        )  # fmt: skip
        return f"the {start.side} projection of {source}"

    def project(self, features: Tensor) -> Tensor:
        """[B, in_width] -> [B, out_width]."""
        out: Tensor = self.linear(features)
        return out


class TwoLayers(Projection):
    """``fc2(gelu(fc1(x)))``.

    Source: github.com/mlfoundations/open_clip, ``hf_model.py`` (``proj_type: mlp``).
    """

    def __init__(
        self,
        settings: MlpSettings,
        in_width: int,
        out_width: int,
        *,
        embedding_width: int | None = None,
    ) -> None:
        super().__init__(settings, in_width, out_width, embedding_width=embedding_width)
        hidden = settings.hidden(in_width, out_width)
        self.fc1 = nn.Linear(in_width, hidden, bias=settings.bias != "none")
        self.fc2 = nn.Linear(hidden, out_width, bias=settings.bias == "both")

    def project(self, features: Tensor) -> Tensor:
        """[B, in_width] -> [B, out_width]."""
        out: Tensor = self.fc2(functional.gelu(self.fc1(features)))
        return out


class Residual(Projection):
    """``layer_norm(e1 + dropout(linear2(quick_gelu(e1))))`` with ``e1 = linear1(x)``, no biases.

    With ``hidden_width`` a matrix stands before the gate: ``linear2(quick_gelu(hidden(e1)))``.

    Source: github.com/ai-forever/ru-clip, both towers of the first generation (without ``hidden``).
    """

    def __init__(
        self,
        settings: ResidualSettings,
        in_width: int,
        out_width: int,
        *,
        embedding_width: int | None = None,
    ) -> None:
        super().__init__(settings, in_width, out_width, embedding_width=embedding_width)
        self.linear1 = nn.Linear(in_width, out_width, bias=False)
        width = settings.hidden_width
        self.hidden = None if width is None else nn.Linear(out_width, width, bias=False)
        self.linear2 = nn.Linear(width or out_width, out_width, bias=False)
        self.layer_norm = nn.LayerNorm(out_width)
        self.activation = QuickGelu()
        self.dropout = nn.Dropout(settings.dropout)

    def project(self, features: Tensor) -> Tensor:
        """[B, in_width] -> [B, out_width]."""
        first = self.linear1(features)
        gated = first if self.hidden is None else self.hidden(first)
        second = self.dropout(self.linear2(self.activation(gated)))
        out: Tensor = self.layer_norm(first + second)
        return out
