"""The answer of a fit: what was measured, and the model that was chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.compress.choices import ChoiceItem
from engine.compress.frontier import Frontier, Point
from engine.compress.losses import MeasuredLoss
from engine.compress.steps import PlannedStep
from engine.core.build import Built
from engine.core.size import SizeReport
from engine.evaluate.statistics import Correct, PairedDifference


@dataclass(frozen=True)
class Quality:
    """How near a model is to the original on the calibration set.

    Attributes:
        cosine: mean cosine of the embeddings with the original's, by tower.
        kept: share of inputs whose nearest other input stayed, by tower; not of one input.
        answers: share of pictures whose nearest text stayed; ``None`` without real pictures.
    """

    cosine: Mapping[str, float]
    kept: Mapping[str, float]
    answers: float | None = None

    @property
    def loss(self) -> float:
        """Sum over the towers of 1 - cosine."""
        return sum(1 - value for value in self.cosine.values())

    def to_json(self) -> dict[str, Any]:
        """For ``--json`` and the manifest."""
        return {"cosine": dict(self.cosine), "kept": dict(self.kept), "answers": self.answers}


@dataclass(frozen=True)
class Candidate:
    """A combination that was measured as a whole.

    Attributes:
        point: the choices.
        bytes: of the file of weights, exact.
        quality: measured.
        accuracy: mean accuracy over the data sets, percent; ``None`` without labels.
        correct: which images it answers rightly, ``None`` without labels.
    """

    point: Point
    bytes: int
    quality: Quality
    accuracy: float | None = None
    correct: Correct | None = None


@dataclass
class FittedModel:
    """The answer.

    Attributes:
        built: the chosen model, ready to be saved; its tensors are already as a reader of the file
            will have them.
        original: bytes of the weights before.
        size: of the chosen model.
        steps: what the compressors did.
        items: the tensors with their choices; empty where no storage had to change.
        chosen: index of the choice of each item.
        losses: of each choice, by item and name.
        candidates: what was measured, the chosen one first.
        front: the frontier; ``None`` where no storage had to change.
        quality: of the chosen model against the original.
        tested: where it was trained: how many inputs of each tower ``quality`` was measured on,
            which neither trained nor decided; else empty, and it was the calibration set.
        accuracy: of the original, percent; ``None`` without labels.
        difference: of the accuracies, chosen less original, by the paired test.
        images: with labels.
        chance: the mean accuracy of guessing, percent; ``None`` without labels.
        notes: what the user should know.
    """

    built: Built
    original: int
    size: SizeReport
    steps: list[PlannedStep]
    items: list[ChoiceItem] = field(default_factory=list)
    chosen: tuple[int, ...] = ()
    losses: dict[str, dict[str, MeasuredLoss | None]] = field(default_factory=dict)
    candidates: list[Candidate] = field(default_factory=list)
    front: Frontier | None = None
    quality: Quality | None = None
    tested: Mapping[str, int] = field(default_factory=dict)
    accuracy: float | None = None
    difference: PairedDifference | None = None
    images: int = 0
    chance: float | None = None
    notes: list[str] = field(default_factory=list)
