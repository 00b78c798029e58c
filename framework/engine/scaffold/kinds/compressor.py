"""A compressor to begin with."""

from __future__ import annotations

from engine.scaffold.kind import PackageKind

SETTINGS = '''\
"""What a config may say to `$name`. Every command reads this, so it imports no torch."""

from __future__ import annotations

from engine.contracts import CompressorSettings
from pydantic import Field


class ${class_name}Settings(CompressorSettings):
    """$title."""

    drop: int = Field(1, ge=1, le=100, description="how many of the last layers are left out")
'''

PLUGIN = '''\
"""`$name`: a step that makes a model smaller.

Its contract: engine/contracts/compressor.py. It imports no torch: `engine fit --plan` asks it what
it would do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.contracts import CompressionStep, Compressor, ModelFacts

from .settings import ${class_name}Settings

if TYPE_CHECKING:
    from torch import Tensor


class $class_name(Compressor):
    """$title.

    It works on text encoders with a setting `layers` whose tensors are named `text.....NUMBER....`.
    """

    settings: ${class_name}Settings
    needs_training = True  # `engine fit` takes it only with --train

    @classmethod
    def candidates(cls, model: ModelFacts) -> Sequence[Mapping[str, Any]]:
        """The settings that `engine fit` tries."""
        return [{"drop": 1}]

    def plan(self, model: ModelFacts) -> CompressionStep | None:
        """What changes in the config, below `model`."""
        layers = getattr(model.text, "layers", 0)
        kept = layers - self.settings.drop
        if kept < 1:
            return None  # there is nothing to leave out
        return CompressionStep({"text.layers": kept}, f"{kept} of {layers} layers stay")

    def apply(
        self,
        step: CompressionStep,
        tensors: Mapping[str, Tensor],
        shapes: Mapping[str, tuple[int, ...]],
    ) -> dict[str, Tensor]:
        """The tensors of the smaller model: those whose names it still has."""
        return {name: tensor for name, tensor in tensors.items() if name in shapes}
'''

PACKAGE = PackageKind(
    file="compressor",
    contract="Compressor",
    contract_module="engine.contracts.compressor",
    summary="leaves out the last layers of a text encoder",
    settings=SETTINGS,
    plugin=PLUGIN,
    headline="A small model that `$name` can make smaller: `engine build my.yaml`.",
    commands=(
        "pip install -e '.[test]'",
        "pytest",
        "engine plugins $name",
        "engine build my.yaml",
        "engine fit build/$name --limit 300kB --plan",
    ),
)
