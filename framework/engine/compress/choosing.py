"""The choice of storages: measured tensor by tensor, then as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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
    spread,
    text_probe,
)
from engine.compress.choices import Choice, ChoiceItem, fixed_bytes, with_choices
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
    recorded,
)
from engine.core.build import Built
from engine.core.progress import Progress
from engine.core.registry import Registry
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


def quality_of(
    probes: Mapping[str, TowerProbe], originals: Mapping[str, Tensor], *, real_pictures: bool
) -> Quality:
    """The model's present weights against the original's embeddings."""
    now = {name: probe.embeddings() for name, probe in probes.items()}
    cosine = {name: 1 - cosine_loss(originals[name], rows) for name, rows in now.items()}
    kept = {
        name: neighbours_kept(originals[name], rows) for name, rows in now.items() if len(rows) > 1
    }
    answers = None
    if real_pictures and "vision" in probes:
        before = originals["vision"] @ originals["text"].T
        after = now["vision"] @ now["text"].T
        answers = float((before.argmax(dim=1) == after.argmax(dim=1)).double().mean())
    return Quality(cosine, kept, answers)


@dataclass
class Choosing:
    """The choice of storages, step by step.

    Attributes:
        originals: the embeddings of the calibration set by the original, by tower, where the model
            is not the original any more; the whole is compared with these.
    """

    fitted: FittedModel
    limit: int
    texts: Sequence[str]
    pictures: Sequence[np.ndarray]
    budget: float
    state: Path | None
    registry: Registry
    progress: Progress
    originals: Mapping[str, Tensor] | None = None
    rounder: Rounder = field(init=False)
    cheap: bool = field(init=False)

    def choose(self, scorer: Scorer | None, original: Correct | None) -> None:
        """Fill the answer in."""
        fitted, built = self.fitted, self.fitted.built
        plan = plan_of_module(built.model)
        probes, notes = probes_for(built, self.texts, self.pictures)
        fitted.notes += notes
        names = [name for item in fitted.items for name in item.tensors]
        if self.originals is None:
            self.originals = {name: probe.reference for name, probe in probes.items()}
        self.progress("what each tensor is multiplied with")
        self.rounder = Rounder(built.model, names, probes)
        # Of a large model only the best combination is rounded by moments.
        self.cheap = self.rounder.operations(fitted.items) <= self.budget * OPERATIONS_A_SECOND
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
        ways: Sequence[Again] = (_plain, self.rounder) if self.cheap else (_plain,)
        found: list[tuple[Candidate, Again]] = []
        for number, (point, size) in enumerate(points):
            self.progress("measuring combinations", number, len(points))
            found.append(self._candidate(point, size.total, probes, scorer, ways))
        found.sort(key=lambda one: _order(one[0]))
        if not self.cheap:
            self.progress("rounding the best of them")
            first = found[0][0]
            found.append(self._candidate(first.point, first.bytes, probes, scorer, [self.rounder]))
            found[0] = min(found[0], found.pop(), key=lambda one: _order(one[0]))
        fitted.candidates = [one for one, _ in found]
        best, again = found[0]
        if original is not None and best.correct is not None:
            fitted.accuracy = _accuracy(original)
            fitted.images = sum(rows.shape[1] for rows in original)
            fitted.difference = paired_test(best.correct, original)
            if len(found) > 1:
                fitted.notes.append(
                    f"the best of {len(found)} combinations by their accuracy on these images was"
                    " chosen, so the accuracy on other images may be a little lower"
                )
        take(fitted, best, again, self.registry)
        if kept is not None:
            kept.remove()

    def _candidate(
        self,
        point: Point,
        bytes_: int,
        probes: Mapping[str, TowerProbe],
        scorer: Scorer | None,
        ways: Sequence[Again],
    ) -> tuple[Candidate, Again]:
        """A combination measured as a whole, its numbers rounded in the best of some ways."""
        built, items = self.fitted.built, self.fitted.items
        originals, real, tried = self.originals or {}, bool(len(self.pictures)), []
        for again in ways:
            with replaced(built.model, _tensors(built, items, point, again)):
                tried.append((quality_of(probes, originals, real_pictures=real), again))
        quality, again = min(tried, key=lambda way: way[0].loss)
        if scorer is None:
            return Candidate(point, bytes_, quality), again
        with replaced(built.model, _tensors(built, items, point, again)):
            correct = scorer(built)
        return Candidate(point, bytes_, quality, _accuracy(correct), correct), again

    def _measure(self, probes: Mapping[str, TowerProbe]) -> FitState | None:
        """Measure every choice; what is known from before is not measured again."""
        fitted, built = self.fitted, self.fitted.built
        signature = signature_of(built, probes, fitted.items) if self.state else {}
        signature["rounded"] = self.cheap
        kept = FitState(self.state, signature) if self.state else None

        def keep(name: str, losses: Mapping[str, MeasuredLoss | None]) -> None:
            if kept is not None:
                kept.keep(name, {key: one and asdict(one) for key, one in losses.items()})

        known = {} if kept is None else known_losses(kept.values)
        fitted.losses = measured_losses(
            built.model, fitted.items, probes,
            budget=self.budget, known=known, keep=keep, progress=self.progress,
            again=self.rounder if self.cheap else None,
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


def take(fitted: FittedModel, candidate: Candidate, again: Again, registry: Registry) -> None:
    """Make a measured combination the answer: its config, its numbers, its manifest."""
    built, items = fitted.built, fitted.items
    plan = plan_of_module(built.model)
    fitted.chosen, fitted.quality = candidate.point.choices, candidate.quality
    built.config = with_choices(built.config, plan, items, fitted.chosen, registry)
    fitted.size = size_of_plan(plan, built.config, None)
    own = built.model.state_dict()
    with torch.no_grad():
        for name, tensor in _tensors(built, items, candidate.point, again):
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
) -> Iterator[tuple[str, Tensor]]:
    """The tensors that a combination stores in another way, one at a time."""
    own = built.model.state_dict()
    for item, number in zip(items, point.choices, strict=True):
        if item.choices[number].ref is not None:
            for name in item.tensors:
                yield name, again(item.choices[number], name, own[name])


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
