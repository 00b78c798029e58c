"""Steps whose result must be trained: a smaller model learns the answers of the original.

They are for limits that no storage meets. Each that the installed compressors offer is done to a
copy, which is trained on the calibration texts; the one that is nearest to the original on texts
that it was not trained on is taken. How near it is, still others say, which decided nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.compress.repair import OriginalOutputs, TrainedTower
from engine.compress.steps import PlannedStep, compressed, facts_of, planned_alternatives
from engine.core.build import Built
from engine.core.progress import Progress, silent
from engine.core.registry import Registry
from engine.core.size import plan_of_module

STEPS = 1500
RATES = (1e-3, 2e-4)


@dataclass(frozen=True)
class Distilled:
    """A step that was done and trained.

    Attributes:
        planned: the step.
        before: mean of 1 - cosine to the original's text embeddings without the training.
        after: with it, both on texts that neither trained nor decided.
    """

    planned: PlannedStep
    before: float
    after: float

    @property
    def said(self) -> str:
        """For the user."""
        return (
            f"{self.planned.step.summary}; trained on the calibration texts by the original, 1 -"
            f" cosine on texts that were not trained on {self.before:.2g} -> {self.after:.2g}"
        )


def distil_nearest(
    built: Built,
    targets: OriginalOutputs,
    fits: Callable[[Built], bool],
    *,
    texts: Sequence[str],
    languages: Sequence[str],
    registry: Registry,
    steps: int = STEPS,
    progress: Progress = silent,
) -> Distilled | None:
    """Do the trained step that leaves a model nearest to the original, in place.

    Args:
        built: the model; it becomes the smaller one.
        targets: the original's answers.
        fits: whether some storages bring a smaller model under the limit.
        texts: see :func:`engine.compress.fit.fit`.
        languages: see there.
        registry: the plugins.
        steps: of the optimizer, for each rate.
        progress: receives how far it is.

    Returns:
        ``None``: no step is offered, or none makes the model small enough.
    """
    facts = facts_of(built.config, built.tokenizer, texts, languages)
    best: tuple[float, Distilled, Built] | None = None
    for planned in planned_alternatives(built.config, facts, registry):
        made = compressed(built, planned)
        if not fits(made):
            continue
        tower = TrainedTower(made, targets, "text", every_number=True, rates=RATES)
        progress(f"training: {planned.step.summary}")
        before = tower.loss("test")
        tower.train(steps, progress)
        one, own = Distilled(planned, before, tower.loss("test")), tower.loss("choice")
        if best is None or own < best[0]:
            best = own, one, made
    if best is None:
        return None
    _, distilled, made = best
    built.config, built.model = made.config, made.model
    built.tokenizer, built.manifest = made.tokenizer, made.manifest
    return distilled


def fitting_bytes(limit: int, registry: Registry) -> Callable[[Built], bool]:
    """Says of a model whether some storages bring it under a limit."""
    from engine.compress.choices import fixed_bytes, items_of, needed
    from engine.compress.choosing import smallest

    def fits(built: Built) -> bool:
        plan = plan_of_module(built.model)
        items = needed(items_of(plan, built.config, registry), limit - fixed_bytes(plan))
        return smallest(items, plan) <= limit

    return fits
