"""Settings of the built-in projections. Nothing here imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.contracts.limits import MAX_WIDTH
from engine.contracts.plan import Plan
from engine.contracts.projection_settings import ProjectionSettings
from engine.contracts.refs import DatasetRef, ProjectionRef, TeacherRef
from engine.contracts.settings import Settings
from engine.errors import ConfigError, PluginError
from engine_plugins import plans


class IdentitySettings(ProjectionSettings):
    """No projection: the tower's features are already as wide as the joint space."""

    @staticmethod
    def check(in_width: int, out_width: int) -> None:
        """Raise ConfigError where the widths differ."""
        if in_width != out_width:
            raise ConfigError(
                f"projection `identity` keeps the width: the tower's features are {in_width} wide,"
                f" the joint space is {out_width} wide (model.embed_dim)",
                hint=f"set model.embed_dim to {in_width}, or use the projection `linear`",
            )

    def plan(self, in_width: int, out_width: int, embedding_width: int | None) -> Plan:
        """No tensors."""
        self.check(in_width, out_width)
        return {}


class LinearStart(Settings):
    """The projection of a model that Engine built, imported or trained."""

    artifact: Path = Field(description="the artifact's folder")
    side: Literal["vision", "text"] = Field(description="which of its projections")


class LinearSettings(ProjectionSettings):
    """One matrix."""

    bias: bool = Field(False, description="add a bias")
    start: LinearStart | None = Field(
        None, description="where its numbers come from; null: random ones"
    )

    def plan(self, in_width: int, out_width: int, embedding_width: int | None) -> Plan:
        """The tensors of ``engine_plugins.projections.simple.Linear``."""
        return plans.linear("linear", in_width, out_width, bias=self.bias)


class MlpSettings(ProjectionSettings):
    """Two matrices with GELU between them: what open_clip puts behind a tower of transformers."""

    hidden_width: int | None = Field(
        None,
        ge=1,
        le=MAX_WIDTH,
        description="width between the matrices; by default the mean of both widths, as open_clip"
        " has it behind a text tower",
    )
    bias: Literal["none", "first", "both"] = Field(
        "none", description="which of the matrices have a bias"
    )

    def hidden(self, in_width: int, out_width: int) -> int:
        """Width between the matrices."""
        return self.hidden_width or (in_width + out_width) // 2

    def plan(self, in_width: int, out_width: int, embedding_width: int | None) -> Plan:
        """The tensors of ``engine_plugins.projections.simple.TwoLayers``."""
        hidden = self.hidden(in_width, out_width)
        return {
            **plans.linear("fc1", in_width, hidden, bias=self.bias != "none"),
            **plans.linear("fc2", hidden, out_width, bias=self.bias == "both"),
        }


class ResidualSettings(ProjectionSettings):
    """ru-clip's projection: a matrix, a gated second matrix beside it, their sum, layer norm."""

    dropout: float = Field(
        0.5, ge=0, lt=1, description="share of the second matrix's outputs dropped in training"
    )
    hidden_width: int | None = Field(
        None,
        ge=1,
        le=MAX_WIDTH,
        description="a matrix to this width before the gate, so that the projection can be of any"
        " size in the same joint space; by default there is none, as in ru-clip",
    )

    def plan(self, in_width: int, out_width: int, embedding_width: int | None) -> Plan:
        """The tensors of ``engine_plugins.projections.simple.Residual``."""
        hidden = self.hidden_width
        plan = plans.linear("linear1", in_width, out_width, bias=False)
        if hidden is not None:
            plan |= plans.linear("hidden", out_width, hidden, bias=False)
        return {
            **plan,
            **plans.linear("linear2", hidden or out_width, out_width, bias=False),
            **plans.norm("layer_norm", out_width),
        }


class RouterSettings(Settings):
    """The small network that reads the token embeddings and names a cluster."""

    blocks: int = Field(1, ge=1, le=64, description="transformer blocks")
    heads: int | None = Field(
        None,
        ge=1,
        description="attention heads of a block; by default one for each 64 of the embedding width",
    )

    def heads_for(self, width: int) -> int:
        """Heads of a block over embeddings of this width.

        Raises:
            ConfigError: ``heads`` does not divide the width.
        """
        if self.heads is None:
            return next(n for n in range(max(1, width // 64), 0, -1) if width % n == 0)
        if width % self.heads:
            raise ConfigError(
                f"the router has {self.heads} heads, and the token embeddings are {width} wide,"
                " which is not a multiple of that",
                hint="change model.projection.text.router.heads, or leave it out",
            )
        return self.heads


class RoutedSettings(ProjectionSettings):
    """What all clustered projections have; each adds the settings of its router."""

    of: ProjectionRef = Field(
        {"use": "residual"},  # type: ignore[arg-type]
        description="the kind of each projection: any but a clustered one",
    )
    count: int = Field(10, ge=2, le=10_000, description="number of clusters, K")
    choice: Literal["hard", "soft"] = Field(
        "hard",
        description="hard: the projection that the router names; soft: all of them, mixed by the"
        " router's probabilities",
    )
    temperature: float = Field(
        1.0, gt=0, description="the router's logits are divided by it before they are probabilities"
    )
    rivals: Annotated[int, Field(ge=0, le=10_000)] | Literal["all"] = Field(
        1,
        description="training with hard choice: how many other projections, drawn by the router's"
        " probabilities, a text's own is compared with to give the router its gradient; all: every"
        " one, exact and K times the work; 0: no such gradient",
    )

    @model_validator(mode="after")
    def _not_nested(self) -> Self:
        if isinstance(self.of.settings, RoutedSettings):
            raise ValueError(
                "`of` must be another kind of projection than `clustered` or `clustered_light`"
            )
        return self

    def cluster_count(self) -> int:
        """K."""
        return self.count

    def router_plan(self, width: int) -> Plan:
        """The router's tensors over token embeddings of this width."""
        raise NotImplementedError

    def plan(self, in_width: int, out_width: int, embedding_width: int | None) -> Plan | None:
        """The tensors of ``engine_plugins.projections.clustered.Clustered``."""
        if embedding_width is None:
            raise PluginError(
                "a clustered projection reads token embeddings, which only the text modality has",
                hint="use it under model.projection.text, and another kind for vision",
            )
        router = self.router_plan(embedding_width)
        one = self.of.settings.plan(in_width, out_width, embedding_width)
        if one is None:
            return None
        plan = plans.prefixed("router", router)
        for i in range(self.count):
            plan |= plans.prefixed(f"projections.{i}", one)
        return plan


class ClusteredSettings(RoutedSettings):
    """K projections of another kind, and a router that chooses among them by the text."""

    router: RouterSettings = RouterSettings()

    def router_plan(self, width: int) -> Plan:
        """The tensors of ``engine_plugins.projections.clustered.Router``."""
        self.router.heads_for(width)
        plan = plans.linear("output", width, self.count)
        for i in range(self.router.blocks):
            plan |= plans.clip_block(f"blocks.{i}", width, 4 * width)
        return plan


class ClusteredLightSettings(RoutedSettings):
    """K projections of another kind, and a small router that sees no order of words.

    A fortieth of the transformer block's weights at the usual widths, and less of its time.
    """

    router_width: int = Field(
        256, ge=1, le=MAX_WIDTH, description="width of the router's hidden layer"
    )

    def router_plan(self, width: int) -> Plan:
        """The tensors of ``engine_plugins.projections.clustered_light.LightRouter``."""
        return {
            **plans.norm("norm", width),
            **plans.linear("hidden", width, self.router_width),
            **plans.linear("output", self.router_width, self.count),
        }


class WhitenedSettings(ProjectionSettings):
    """A matrix, fitted on class prototypes, into a space where they spread evenly.

    For the image modality; the text modality is `kernel_ridge` with the same prototypes.
    """

    of: DatasetRef = Field(description="class prototypes: a data set with activations")

    def plan(self, in_width: int, out_width: int, embedding_width: int | None) -> Plan:
        """The tensors of ``engine_plugins.projections.prototypes.Whitened``."""
        return plans.tensor("weight", out_width, in_width)


class KernelRidgeSettings(ProjectionSettings):
    """Kernel ridge regression from a teacher's text space to class prototypes.

    The text encoder is one that the teacher teaches, so its features stand in the teacher's space.
    """

    of: DatasetRef = Field(
        description="class prototypes with names: a data set with activations, whose texts the"
        " teacher reads"
    )
    teacher: TeacherRef = Field(description="in whose space the features of the text encoder are")
    anchors: int = Field(1000, ge=1, le=1_000_000, description="number of prototypes in `of`")
    gamma: float = Field(2.0, gt=0, le=1000, description="the kernel is exp(gamma * (cosine - 1))")
    ridge: float = Field(1.0, gt=0, le=1e6, description="added to the kernel's diagonal")

    def plan(self, in_width: int, out_width: int, embedding_width: int | None) -> Plan:
        """The tensors of ``engine_plugins.projections.prototypes.KernelRidge``."""
        return {
            **plans.tensor("anchors", self.anchors, in_width),
            **plans.tensor("coefficients", self.anchors, out_width),
        }
