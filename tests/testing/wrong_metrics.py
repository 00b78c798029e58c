"""A right metric, and metrics that are wrong in one thing each. numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field

from engine.contracts.metric import Answers, Metric, Value
from engine.contracts.settings import Settings


class RightMetric(Metric):
    """Percent of the images that are answered rightly."""

    name: ClassVar[str] = "RightMetric"
    heading = "right"
    unit = "%"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" not in vars(cls):
            cls.name = cls.__name__

    def compute(self, answers: Answers) -> float | None:
        return float(100 * (answers.labels == answers.best).mean())


class RightError(RightMetric):
    """The error of probabilities that are known."""

    higher_is_better = False
    needs = frozenset({"labels", "probabilities"})

    def compute(self, answers: Answers) -> float | None:
        return float(100 * (answers.labels != answers.best).mean())


class OtherName(RightMetric):
    """Goes by another name."""

    name = "something_else"


class NoHeading(RightMetric):
    """Forgets its heading."""

    heading = " "


class NeedsMore(RightMetric):
    """Needs what there is not."""

    needs = frozenset({"labels", "captions"})


class OtherDirection(RightMetric):
    """Says that lower is better."""

    higher_is_better = False


class GivesNan(RightMetric):
    """Divides by the number of answers, which may be 0."""

    def compute(self, answers: Answers) -> float | None:
        known = int((answers.best >= 0).sum())
        return float((answers.labels == answers.best).sum()) / known if known else float("nan")


class NeverKnown(RightMetric):
    """Says nothing at all."""

    def compute(self, answers: Answers) -> float | None:
        return None


class ChokesOnGaps(RightMetric):
    """Looks up the name of every answer."""

    def compute(self, answers: Answers) -> float | None:
        if (answers.best < 0).any():
            raise IndexError("no such class")
        return super().compute(answers)


class FirstImages(RightMetric):
    """Looks at the first ten images alone."""

    def compute(self, answers: Answers) -> float | None:
        return float(100 * (answers.labels == answers.best)[:10].mean())


class Counts(RightMetric):
    """Keeps a count between calls."""

    calls = 0

    def compute(self, answers: Answers) -> float | None:
        type(self).calls += 1
        return float(self.calls)


class Aside(RightMetric):
    """An interval beside its value."""

    def interval(self, answers: Answers, value: float) -> tuple[float, float]:
        return value + 1, value + 2


class Sums(RightMetric):
    """Adds values up and trips over a gap."""

    def combine(self, values: Sequence[Any]) -> Value | None:
        return Value(sum(each.value for each in values))


class AskedFor(Settings):
    """A setting without a default."""

    width: int = Field(ge=1)
