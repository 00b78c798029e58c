"""Fit: the best model under a limit.

1. Lossless steps (unused positions, tokens that the languages cannot spell).
2. Storages, tensor by tensor: the loss of each choice is measured (``losses.py``), and the frontier
   of bytes and loss (``frontier.py``) gives the best combination under any limit.
3. Losses do not add up exactly, so the best combinations are measured as a whole, and the best of
   these is taken.
4. Its numbers are rounded once more, by what they are multiplied with (``rounding.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.compress.answer import Candidate, FittedModel, Quality
from engine.compress.calibration import (
    TowerProbe,
    cosine_loss,
    drawn_pixels,
    image_probe,
    neighbours_kept,
    pixels_of,
    text_probe,
)
from engine.compress.choices import Choice, ChoiceItem, fixed_bytes, items_of, needed, with_choices
from engine.compress.frontier import Frontier, Point, frontier
from engine.compress.losses import (
    OPERATIONS_A_SECOND,
    Again,
    MeasuredLoss,
    measured_losses,
    replaced,
    stored_again,
)
from engine.compress.rounding import Rounder
from engine.compress.state import FitState, known_losses, signature_of
from engine.compress.steps import (
    compressed,
    facts_of,
    planned_steps,
    recorded,
    without_limit,
)
from engine.core.build import Built
from engine.core.progress import Progress, silent
from engine.core.registry import Registry, default_registry
from engine.core.size import SizeReport, plan_of_module, size_of_plan
from engine.errors import LimitError
from engine.evaluate.statistics import Correct, paired_test

CHECKED = 4
"""Combinations that are measured as a whole."""

_GRID = 0.97
"""How much smaller each of them is than the one before, at least."""

_DRAWN = 8

Scorer = Callable[[Built], Correct]
"""Says which images a model answers rightly: one array a data set, [1, images] bool."""

_MAX_TEXTS = 512


def fit(
    built: Built,
    limit: int,
    *,
    texts: Sequence[str] = (),
    pictures: Sequence[np.ndarray] = (),
    languages: Sequence[str] = (),
    scorer: Scorer | None = None,
    budget: float = 300.0,
    state: Path | None = None,
    registry: Registry | None = None,
    progress: Progress = silent,
) -> FittedModel:
    """The best model under a limit.

    Args:
        built: the model, with decoded weights; it may be changed.
        limit: bytes of the file of weights.
        texts: calibration texts, as the model will be asked.
        pictures: calibration pictures of ``to_pixels``, uint8 [S, S, 3]; without any, the image
            side is compared on drawn ones.
        languages: whose letters the vocabulary must be able to spell; without any, the scripts of
            the texts.
        scorer: says which images of the user's data a model answers rightly; the combination with
            the highest accuracy is then taken.
        budget: seconds for measuring, by counted operations.
        state: a file in which measured losses are kept until the fit is done.
        registry: the plugins.
        progress: receives how far it is.

    Raises:
        LimitError: the limit cannot be met; names the smallest possible size.
        DataError: there is no text.
    """
    registry = registry or default_registry()
    built.config = without_limit(built.config)
    built.model.merge()
    plan = plan_of_module(built.model)
    before = size_of_plan(plan, built.config, None)
    if before.total <= limit:
        note = f"it has {before.total:,} bytes already, so nothing is done"
        return FittedModel(built, before.total, before, [], notes=[note])
    original = scorer(built) if scorer else None
    facts = facts_of(built.config, built.tokenizer, texts, languages)
    steps, notes = planned_steps(built.config, facts, registry=registry)
    for planned in steps:
        progress(planned.step.summary)
        built = compressed(built, planned)
    plan = plan_of_module(built.model)
    size = size_of_plan(plan, built.config, None)
    if steps:
        notes.append(
            f"lossless steps: {before.total:,} bytes became {size.total:,}"
            + ("" if size.total <= limit else ", still above the limit, so storages change too")
        )
    if size.total <= limit:
        built.manifest = recorded(built.manifest, [one.to_json() for one in steps])
        return FittedModel(built, before.total, size, steps, notes=notes)
    items = needed(items_of(plan, built.config, registry), limit - fixed_bytes(plan))
    least = smallest(items, plan)
    if least > limit:
        raise impossible(built.config.name, limit, least, before.total)
    fitted = FittedModel(built, before.total, size, steps, items=items, notes=notes)
    work = _Choosing(fitted, limit, texts, pictures, budget, state, registry, progress)
    work.choose(scorer, original)
    return fitted


def smallest(items: Sequence[ChoiceItem], plan: Any) -> int:
    """Bytes of the smallest combination, at most some hundred too many."""
    return fixed_bytes(plan) + sum(min(c.bytes for c in item.choices) for item in items)


def impossible(name: str, limit: int, least: int, original: int) -> LimitError:
    """The error of a limit that cannot be met."""
    return LimitError(
        f"{name} cannot be made as small as {limit:,} bytes: of {original:,} bytes, the smallest"
        f" that the installed steps and storages give is about {least:,}",
        hint=f"give a limit of at least {least:,} bytes, or a smaller model",
    )


def probes_for(
    built: Built, texts: Sequence[str], pictures: Sequence[np.ndarray]
) -> tuple[dict[str, TowerProbe], list[str]]:
    """Both towers with the calibration set, and what the user should know of it."""
    model, notes = built.model, []
    found = {"text": text_probe(model, built.tokenizer, spread(list(texts), _MAX_TEXTS))}
    if len(texts) > _MAX_TEXTS:
        notes.append(
            f"{_MAX_TEXTS} of {len(texts):,} texts, evenly spaced, are the calibration set"
        )
    if any(True for _ in model.vision.parameters()):
        pixels: list[Tensor]
        if len(pictures):
            pixels = pixels_of(model, pictures)
        else:
            pixels = drawn_pixels(model, _DRAWN)
            notes.append("no pictures were given: the vision tower is compared on drawn ones")
        found["vision"] = image_probe(model, pixels)
    return found, notes


def spread(rows: list[Any], most: int) -> list[Any]:
    """At most ``most`` of some rows, evenly spaced."""
    if len(rows) <= most:
        return rows
    return [rows[i * len(rows) // most] for i in range(most)]


def quality_of(probes: Mapping[str, TowerProbe], *, real_pictures: bool) -> Quality:
    """The model's present weights against the original's."""
    now = {name: probe.embeddings() for name, probe in probes.items()}
    cosine = {name: 1 - cosine_loss(probe, now[name]) for name, probe in probes.items()}
    kept = {
        name: neighbours_kept(probe, now[name]) for name, probe in probes.items() if len(probe) > 1
    }
    answers = None
    if real_pictures and "vision" in probes:
        before = probes["vision"].reference @ probes["text"].reference.T
        after = now["vision"] @ now["text"].T
        answers = float((before.argmax(dim=1) == after.argmax(dim=1)).double().mean())
    return Quality(cosine, kept, answers)


@dataclass
class _Choosing:
    """The choice of storages, step by step."""

    fitted: FittedModel
    limit: int
    texts: Sequence[str]
    pictures: Sequence[np.ndarray]
    budget: float
    state: Path | None
    registry: Registry
    progress: Progress
    rounder: Rounder = field(init=False)

    def choose(self, scorer: Scorer | None, original: Correct | None) -> None:
        """Fill the answer in."""
        fitted, built = self.fitted, self.fitted.built
        plan = plan_of_module(built.model)
        probes, notes = probes_for(built, self.texts, self.pictures)
        fitted.notes += notes
        names = [name for item in fitted.items for name in item.tensors]
        self.progress("what each tensor is multiplied with")
        self.rounder = Rounder(built.model, names, probes)
        kept = self._measure(probes)
        items = fitted.items = [_held(item, fitted.losses[item.name]) for item in fitted.items]
        front = fitted.front = frontier(
            [[c.bytes for c in item.choices] for item in items],
            [[_value(fitted.losses[item.name], c.name) for c in item.choices] for item in items],
        )
        points = _points(fitted, front, self.limit, plan, self.registry)
        if not points:
            least = smallest(items, plan)
            raise impossible(built.config.name, self.limit, least, fitted.original)
        measured: dict[int, dict[str, Tensor]] = {}
        for number, (point, size) in enumerate(points):
            self.progress("measuring combinations", number, len(points))
            one, measured[size.total] = self._candidate(point, size.total, probes, scorer)
            fitted.candidates.append(one)
        fitted.candidates.sort(key=_order)
        best = fitted.candidates[0]
        if original is not None and best.correct is not None:
            fitted.accuracy = _accuracy(original)
            fitted.images = sum(rows.shape[1] for rows in original)
            fitted.difference = paired_test(best.correct, original)
        take(fitted, best, measured[best.bytes], self.registry)
        if kept is not None:
            kept.remove()

    def _candidate(
        self, point: Point, bytes_: int, probes: Mapping[str, TowerProbe], scorer: Scorer | None
    ) -> tuple[Candidate, dict[str, Tensor]]:
        """A combination measured as a whole, its numbers rounded in the better of two ways."""
        built, items = self.fitted.built, self.fitted.items
        real, ways = bool(len(self.pictures)), []
        for again in (_plain, self.rounder):
            tensors = _tensors(built, items, point, again)
            with replaced(built.model, tensors):
                ways.append((quality_of(probes, real_pictures=real), tensors))
        quality, tensors = min(ways, key=lambda way: way[0].loss)
        if scorer is None:
            return Candidate(point, bytes_, quality), tensors
        with replaced(built.model, tensors):
            correct = scorer(built)
        return Candidate(point, bytes_, quality, _accuracy(correct), correct), tensors

    def _measure(self, probes: Mapping[str, TowerProbe]) -> FitState | None:
        """Measure every choice; what is known from before is not measured again."""
        fitted, built = self.fitted, self.fitted.built
        signature = signature_of(built, probes, fitted.items) if self.state else {}
        # Of a large model only the measured combinations are rounded by moments.
        cheap = self.rounder.operations(fitted.items) <= self.budget * OPERATIONS_A_SECOND
        signature["rounded"] = cheap
        kept = FitState(self.state, signature) if self.state else None

        def keep(name: str, losses: Mapping[str, MeasuredLoss | None]) -> None:
            if kept is not None:
                kept.keep(name, {key: one and asdict(one) for key, one in losses.items()})

        known = {} if kept is None else known_losses(kept.values)
        fitted.losses = measured_losses(
            built.model, fitted.items, probes,
            budget=self.budget, known=known, keep=keep, progress=self.progress,
            again=self.rounder if cheap else None,
        )  # fmt: skip
        estimated = sum(
            not one.measured for own in fitted.losses.values() for one in own.values() if one
        )
        if estimated:
            fitted.notes.append(
                f"the losses of {estimated} choices follow from measured ones of the same tensor:"
                " to measure all of them, give a larger --budget"
            )
        return kept


def _accuracy(correct: Correct) -> float:
    """Mean over the data sets, percent."""
    return 100 * float(np.mean([rows.mean() for rows in correct]))


def take(
    fitted: FittedModel, candidate: Candidate, tensors: Mapping[str, Tensor], registry: Registry
) -> None:
    """Make a measured combination the answer: its config, its numbers, its manifest."""
    built, items = fitted.built, fitted.items
    plan = plan_of_module(built.model)
    fitted.chosen, fitted.quality = candidate.point.choices, candidate.quality
    built.config = with_choices(built.config, plan, items, fitted.chosen, registry)
    fitted.size = size_of_plan(plan, built.config, None)
    own = built.model.state_dict()
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)
    built.manifest = recorded(
        built.manifest,
        [
            *(one.to_json() for one in fitted.steps),
            {
                "use": "storage",
                "summary": "storages chosen by measured loss",
                "lossless": None,
                "bytes_saved": fitted.original - sum(s.saved for s in fitted.steps)
                - fitted.size.total,
                "measured": candidate.quality.to_json(),
            },
        ],
    )  # fmt: skip


def _plain(choice: Choice, name: str, tensor: Tensor) -> Tensor:
    return stored_again(choice, tensor)


def _order(candidate: Candidate) -> tuple[float, float, int]:
    """The best first: by accuracy where it is known, then by loss, then by bytes."""
    return -(candidate.accuracy or 0.0), candidate.quality.loss, candidate.bytes


def _tensors(
    built: Built, items: Sequence[ChoiceItem], point: Point, again: Again
) -> dict[str, Tensor]:
    own = built.model.state_dict()
    return {
        name: again(item.choices[number], name, own[name])
        for item, number in zip(items, point.choices, strict=True)
        for name in item.tensors
    }


def _held(item: ChoiceItem, losses: Mapping[str, MeasuredLoss | None]) -> ChoiceItem:
    """The item without choices that cannot hold it, or that others are better than in both."""
    order = sorted(
        (c for c in item.choices if losses[c.name] is not None),
        key=lambda c: (c.bytes, _value(losses, c.name)),
    )
    kept, least = [], float("inf")
    for choice in order:
        value = _value(losses, choice.name)
        if value < least:
            kept.append(choice)
            least = value
    return ChoiceItem(item.name, item.tensors, tuple(kept))


def _value(losses: Mapping[str, MeasuredLoss | None], name: str) -> float:
    one = losses[name]
    assert one is not None
    return one.value


def _points(
    fitted: FittedModel, front: Frontier, limit: int, plan: Any, registry: Registry
) -> list[tuple[Point, SizeReport]]:
    """The combinations to measure: the best under the limit, then some that are smaller."""
    found: list[tuple[Point, SizeReport]] = []
    allowed = limit - fixed_bytes(plan) + 2048  # choices count their headers generously
    while len(found) < CHECKED:
        point = front.best(allowed)
        if point is None:
            break
        config = with_choices(fitted.built.config, plan, fitted.items, point.choices, registry)
        size = size_of_plan(plan, config, limit)
        if size.over:
            allowed = point.bytes - 1
            continue
        found.append((point, size))
        allowed = int(point.bytes * _GRID)
    return found
