"""A metric to begin with."""

from __future__ import annotations

from engine.scaffold.kind import PackageKind

SETTINGS = '''\
"""Settings of `$name`; it is made with their defaults. This imports no torch."""

from __future__ import annotations

from engine.contracts import Settings
from pydantic import Field


class ${class_name}Settings(Settings):
    """$title."""

    answers: int = Field(2, ge=1, description="best answers that are looked at")
'''

PLUGIN = '''\
"""`$name`: computed from a model's answers wherever it applies, without a config.

Its contract: engine/contracts/metric.py.
"""

from __future__ import annotations

from engine.contracts import Answers, Metric

from .settings import ${class_name}Settings


class $class_name(Metric):
    """Share of the images whose class is among the two best answers."""

    name = "$name"
    heading = "top-2"
    unit = "%"
    higher_is_better = True

    settings: ${class_name}Settings

    def compute(self, answers: Answers) -> float | None:
        """The value on one data set; None where so few answers say nothing."""
        best = answers.ranked[:, : self.settings.answers]  # [N, 2], -1 for no answer
        if best.shape[1] < self.settings.answers or len(answers.classes) <= best.shape[1]:
            return None
        return float(100 * (best == answers.labels[:, None]).any(axis=1).mean())
'''

PACKAGE = PackageKind(
    file="metric",
    contract="Metric",
    contract_module="engine.contracts.metric",
    summary="top-2 accuracy, in every table and page of results",
    settings=SETTINGS,
    plugin=PLUGIN,
    headline="A small model whose results show `$name`: `engine train my.yaml`, under a minute.",
    commands=(
        "pip install -e '.[test]'",
        "pytest",
        "engine plugins $name",
        "engine build my.yaml",
        "engine train my.yaml",
        "engine data make $data data --count 100 --test-count 48",
        "engine eval runs/$name/model data/test",
    ),
)
