"""``drop_layers``: some blocks of a transformer are left out.

Sources: Sajjad et al., 2023, arXiv:2004.03844 (dropping layers of pre-trained models); DistilBERT
(Sanh et al., 2019, arXiv:1910.01108) keeps every second one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from engine.contracts.compressor import CompressionStep, Compressor, ModelFacts
from engine.errors import ConfigError
from engine_plugins.compressors.settings import DropLayersSettings

if TYPE_CHECKING:
    from torch import Tensor

_NUMBERED = re.compile(r"(?P<head>.*?\.)(?P<number>\d+)(?P<tail>\..*)")


class DropLayers(Compressor):
    """Keeps some layers, evenly spaced; what is left must be trained."""

    settings: DropLayersSettings
    needs_training: ClassVar[bool] = True

    @classmethod
    def candidates(cls, model: ModelFacts) -> Sequence[Mapping[str, Any]]:
        """Half of the layers of the text encoder."""
        layers = getattr(model.text, "layers", 0)
        return [{"tower": "text", "keep": layers // 2}] if layers >= 4 else []

    def plan(self, model: ModelFacts) -> CompressionStep | None:
        """Which layers stay.

        Raises:
            ConfigError: the tower has no setting ``layers``, or fewer than are to stay.
        """
        own = self.settings
        layers = getattr(getattr(model, own.tower), "layers", None)
        if not isinstance(layers, int):
            raise ConfigError(f"the {own.tower} tower has no setting `layers`")
        if own.keep > layers:
            raise ConfigError(
                f"{own.keep} layers are to stay, and the {own.tower} tower has {layers}"
            )
        if own.keep == layers:
            return None
        kept = [round((i + 1) * layers / own.keep) - 1 for i in range(own.keep)]
        return CompressionStep(
            {f"{own.tower}.layers": own.keep},
            f"{own.keep} of {layers} layers of the {own.tower} tower stay",
            details={"kept": kept},
            work=kept,
        )

    def apply(
        self,
        step: CompressionStep,
        tensors: Mapping[str, Tensor],
        shapes: Mapping[str, tuple[int, ...]],
    ) -> dict[str, Tensor]:
        """The tensors of the kept layers, numbered from 0."""
        number = {old: new for new, old in enumerate(step.work)}
        made: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            found = _NUMBERED.fullmatch(name)
            if found is None or not name.startswith(f"{self.settings.tower}."):
                made[name] = tensor
            elif int(found["number"]) in number:
                new = f"{found['head']}{number[int(found['number'])]}{found['tail']}"
                made[new] = tensor
        return made
