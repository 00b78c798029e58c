"""The gallery: photographs with a model's answers, as one HTML file that needs nothing else.

No script, no network: pictures are data URIs, and the page's own policy forbids everything else.
Whatever comes from data (names, ids) is escaped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image

from engine.contracts.metric import PRIMARY, Declaration, Value
from engine.core.artifact import WEIGHTS
from engine.core.files import write_text
from engine.data.pictures import rgb
from engine.errors import BrokenImageError
from engine.evaluate.confusion import Confusion, confusion_of
from engine.evaluate.predictor import Predictor
from engine.evaluate.runner import DatasetRun, EvaluatedRow
from engine.evaluate.scores import METHOD, DatasetScore, Labels, Score
from engine.evaluate.zero_shot import Probabilities
from engine.report import about, fragment, picture, render, size
from engine.report.shell import text
from engine.report.words import NONE

THUMBNAIL = 400
"""Longest side of a shown photograph, in pixels."""

NONE_SHOWN = "no image"
"""In place of the recall of a class that no image shows."""


@dataclass(frozen=True)
class Card:
    """A photograph with the answers to it.

    Attributes:
        id: the image's.
        image: the photograph.
        answers: class names with probabilities (0..1), best first.
        truth: the right class name; ``None`` where it is not known.
    """

    id: str
    image: Image.Image
    answers: Sequence[tuple[str, float]]
    truth: str | None = None


@dataclass(frozen=True)
class Section:
    """The photographs of one data set.

    Attributes:
        name: of the data set.
        cards: the photographs.
        images: how many the data set has.
        recall: each class name with its recall in percent, or ``None`` where no image shows it;
            empty where the right answers are not known.
        kind: what the probabilities are, see :data:`engine.evaluate.zero_shot.Probabilities`.
        confusion: which class got which answer, over all images that were answered; ``None`` where
            the right answers are not known.
    """

    name: str
    cards: Sequence[Card]
    images: int
    recall: Sequence[tuple[str, float | None]] = ()
    kind: Probabilities = "softmax"
    confusion: Confusion | None = None


@dataclass(frozen=True)
class Header:
    """What the page says of the model.

    Attributes:
        name: of the model.
        facts: label and value, such as ``("weights", "605 MB")``.
        warnings: what a reader must know first.
        config: the model's config in words, for the end of the page.
    """

    name: str
    facts: Sequence[tuple[str, str]] = ()
    warnings: Sequence[str] = field(default=())
    config: str = ""


def header_of(predictor: Predictor) -> Header:
    """The header of a model."""
    model = predictor.config.model
    facts = [("vision", model.vision.name), ("text", model.text.name)]
    facts.append(("embedding dimension", f"{predictor.model.embed_dim:,}"))
    files = predictor.manifest.get("files", {})
    weight = files.get(WEIGHTS, {}).get("bytes", 0)
    if weight:
        facts.append(("weights", size(weight)))
    config = f"{predictor.config.name}: vision {model.vision.name}, text {model.text.name}"
    if written := predictor.manifest.get("engine"):
        config += f"; the model was written by engine {written}"
    return Header(predictor.config.name, facts, predictor.warnings, config)


def section_of(run: DatasetRun, truth: Labels | None = None, pictures: int = 60) -> Section:
    """A data set's part of the page: at most ``pictures`` of its images, spread over its classes.

    Args:
        run: the answers.
        truth: the right answers by data set; ``None``: the data set's own labels.
        pictures: most photographs.
    """
    labels = run.truth(None if truth is None else truth.get(run.dataset.name, {}))
    names = run.dataset.classes
    cards = []
    for row in _spread(run.rows, labels, pictures):
        try:
            image = rgb(run.dataset.image(row.index))
        except BrokenImageError:
            continue  # it was read a moment ago: the file has been taken away since
        answers = [(names[i], p) for i, p in zip(row.classes, row.probabilities, strict=True)]
        label = labels.get(row.record.id)
        known = None if label is None else names[label]
        cards.append(Card(row.record.id, image, answers, known))
    score = run.score(labels) if labels else None
    recall = list(zip(names, score.recall, strict=True)) if score else []
    answered = [
        (labels[row.record.id], row.classes[0]) for row in run.rows if row.record.id in labels
    ]
    confusion = confusion_of(names, answered) if answered else None
    return Section(run.dataset.name, cards, run.asked, recall, run.kind, confusion)


def _spread(rows: Sequence[EvaluatedRow], labels: dict[str, int], count: int) -> list[EvaluatedRow]:
    """At most ``count`` rows, from every class in turn, evenly spaced within each; in class order.

    A row's class is its label, or its answer where there is none. Same rows, same choice.
    """
    groups: dict[int, list[EvaluatedRow]] = defaultdict(list)
    for row in rows:
        groups[labels.get(row.record.id, row.classes[0])].append(row)
    shares = dict.fromkeys(sorted(groups), 0)
    left = min(count, len(rows))
    while left:
        for index, group in groups.items():
            if left and shares[index] < len(group):
                shares[index] += 1
                left -= 1
    return [
        groups[index][(2 * i + 1) * len(groups[index]) // (2 * share)]
        for index, share in shares.items()
        for i in range(share)
    ]


def write_gallery(
    path: Path, header: Header, sections: Sequence[Section], score: Score | None = None
) -> None:
    """Write the page, whole or not at all.

    Args:
        path: the HTML file.
        header: what it says of the model.
        sections: the data sets' photographs.
        score: the table above them, where the right answers are known.
    """
    known = any(card.truth is not None for section in sections for card in section.cards)
    html = render(
        "engine.evaluate/gallery.html",
        title=f"{header.name}: zero-shot answers",
        kind="Zero-shot classification",
        name=header.name,
        facts=header.facts,
        warnings=header.warnings,
        about=about(
            config=header.config,
            data=[f"{section.name}, {section.images:,} images" for section in sections],
            packages=["torch"],
            notes=[_chosen({one.kind for one in sections}), *([f"{METHOD}."] if score else [])],
        ),
        big=_big(score) if score else None,
        heads=_heads(score) if score else [],
        rows=[_row(each, score.declarations) for each in score.datasets] if score else [],
        known=known,
        sections=[_section(section) for section in sections],
    )
    write_text(path, html)


_BARS: Mapping[str, str] = {
    "softmax": "among all classes of the data set",
    "sigmoid": "of each class by itself, so that they need not add up to 100 %",
}


def _chosen(kinds: Collection[Probabilities]) -> str:
    return (
        "Photographs are taken from every class in turn, evenly spaced; bars are the model's"
        f" probabilities {' or '.join(_BARS[kind] for kind in sorted(kinds))}. A full bar is 100 %."
    )


def _big(score: Score) -> dict[str, Any]:
    """The one number in the head of the page."""
    found = score.metrics.get(PRIMARY)
    return {
        "value": score.accuracy,
        "what": "accuracy" if len(score.datasets) == 1 else "mean accuracy",
        "interval": found.interval if found else None,
        "chance": score.chance,
    }


def _heads(score: Score) -> list[str]:
    heads = ["data set", "images", "classes", "chance"]
    for each in score.declarations:
        unit = f", {each.unit}" if each.unit and each.unit != "%" else ""
        heads += [each.heading + unit, *(["95 % interval"] if each.name == PRIMARY else [])]
    return heads


def _row(score: DatasetScore, declarations: Sequence[Declaration]) -> list[Any]:
    """The cells of a data set in the table."""
    cells: list[Any] = [
        text(score.name), f"{score.images:,}", f"{score.classes:,}", f"{score.chance:.1f}",
    ]  # fmt: skip
    for each in declarations:
        value = score.metrics.get(each.name)
        cells.append(NONE if value is None else f"{value.value:.{each.digits}f}")
        if each.name == PRIMARY:
            cells.append(NONE if value is None or value.interval is None else _range(value))
    return cells


def _range(value: Value) -> Markup:
    """An interval as a bar and in words."""
    return fragment("engine.evaluate/range.html", value=value.value, interval=value.interval)


def _section(section: Section) -> dict[str, Any]:
    shown = len(section.cards)
    return {
        "name": section.name,
        "count": f"{shown} of {section.images:,} images"
        if shown < section.images
        else f"{shown} images",
        "recall": [
            (name, NONE_SHOWN if value is None else f"{value:.0f} %", (value or 0) / 100, "")
            for name, value in section.recall
        ],
        "confusion": section.confusion,
        "cards": [_card(card) for card in section.cards],
    }


def _card(card: Card) -> dict[str, Any]:
    best = card.answers[0][0]
    return {
        "id": card.id,
        "state": "" if card.truth is None else "right" if card.truth == best else "wrong",
        "truth": card.truth,
        "source": picture(card.image, THUMBNAIL),
        "answers": [(name, _percent(chance), chance) for name, chance in card.answers],
    }


def _percent(chance: float) -> str:
    return "<0.1 %" if 0 < chance < 0.0005 else f"{100 * chance:.1f} %"
