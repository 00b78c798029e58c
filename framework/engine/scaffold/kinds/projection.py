"""A projection to begin with."""

from __future__ import annotations

from engine.scaffold.kind import PackageKind

SETTINGS = '''\
"""What a config may say to `$name`. Every command reads this, so it imports no torch."""

from __future__ import annotations

from engine.contracts import ProjectionSettings
from pydantic import Field


class ${class_name}Settings(ProjectionSettings):
    """$title."""

    hidden_width: int = Field(128, ge=1, description="width between the two matrices")
'''

PLUGIN = '''\
"""`$name`: features go into the joint space.

Its contract: engine/contracts/projection.py.
"""

from __future__ import annotations

from engine.contracts import Projection
from torch import Tensor, nn

from .settings import ${class_name}Settings


class $class_name(Projection):
    """$title."""

    def __init__(
        self,
        settings: ${class_name}Settings,
        in_width: int,
        out_width: int,
        *,
        embedding_width: int | None = None,
    ) -> None:
        super().__init__(settings, in_width, out_width, embedding_width=embedding_width)
        self.first = nn.Linear(in_width, settings.hidden_width)
        self.second = nn.Linear(settings.hidden_width, out_width)

    def project(self, features: Tensor) -> Tensor:
        """[B, in_width] -> [B, out_width], not normalised: the model does that."""
        out: Tensor = self.second(self.first(features).relu())
        return out
'''

PACKAGE = PackageKind(
    file="projection",
    contract="Projection",
    contract_module="engine.contracts.projection",
    summary="two matrices with a ReLU between them",
    settings=SETTINGS,
    plugin=PLUGIN,
    slots={"vision_projection": "{use: $name}", "text_projection": "{use: $name}"},
)
