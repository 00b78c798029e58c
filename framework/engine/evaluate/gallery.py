"""The gallery: photographs with a model's answers, as one HTML file that needs nothing else.

No script, no network: pictures are data URIs, and the page's own policy forbids everything else.
Whatever comes from data (names, ids) is escaped.
"""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from PIL import Image

from engine.contracts.metric import PRIMARY, Declaration, Value
from engine.core.artifact import WEIGHTS
from engine.core.files import write_text
from engine.data.pictures import rgb
from engine.errors import BrokenImageError
from engine.evaluate.gallery_style import STYLE
from engine.evaluate.predictor import Predictor
from engine.evaluate.runner import DatasetRun, EvaluatedRow
from engine.evaluate.scores import METHOD, DatasetScore, Labels, Score
from engine.evaluate.zero_shot import Probabilities

THUMBNAIL = 400
"""Longest side of a shown photograph, in pixels."""


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
    """

    name: str
    cards: Sequence[Card]
    images: int
    recall: Sequence[tuple[str, float | None]] = ()
    kind: Probabilities = "softmax"


@dataclass(frozen=True)
class Header:
    """What the page says of the model.

    Attributes:
        name: of the model.
        facts: label and value, such as ``("weights", "605,201,468 bytes")``.
        warnings: what a reader must know first.
    """

    name: str
    facts: Sequence[tuple[str, str]] = ()
    warnings: Sequence[str] = field(default=())


def header_of(predictor: Predictor) -> Header:
    """The header of a model."""
    model = predictor.config.model
    facts = [("vision", model.vision.name), ("text", model.text.name)]
    facts.append(("embedding dimension", f"{predictor.model.embed_dim:,}"))
    files = predictor.manifest.get("files", {})
    weight = files.get(WEIGHTS, {}).get("bytes", 0)
    if weight:
        facts.append(("weights", f"{weight:,} bytes"))
    return Header(predictor.config.name, facts, predictor.warnings)


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
    return Section(run.dataset.name, cards, run.asked, recall, run.kind)


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
    title = f"{header.name}: zero-shot answers"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\';'
        " img-src data:; style-src 'unsafe-inline'\">",
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
        _head(header, score),
        _filters() if known else "",
        *(_section(section) for section in sections),
        f"<footer><p>{_footer(score, {one.kind for one in sections})}</p></footer>",
        "</body></html>\n",
    ]
    write_text(path, "\n".join(part for part in parts if part))


def _head(header: Header, score: Score | None) -> str:
    facts = "".join(
        f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>"
        for label, value in header.facts
    )
    warnings = "".join(
        f'<p class="warning" role="note"><b>Note</b> {escape(text)}</p>' for text in header.warnings
    )
    big = ""
    if score is not None:
        what = "accuracy" if len(score.datasets) == 1 else "mean accuracy"
        found = score.metrics.get(PRIMARY)
        range_ = found.interval if found else None
        words = "" if not range_ else f"<br>95 % interval {range_.low:.1f} to {range_.high:.1f}"
        big = (
            f'<div class="big"><strong>{score.accuracy:.1f}<small>%</small></strong>'
            f"<span>{what}{words}</span></div>"
        )
    return (
        f'<header><div class="top"><div><p class="kind">Zero-shot classification</p>'
        f"<h1>{escape(header.name)}</h1><dl>{facts}</dl></div>{big}</div>{warnings}"
        f"{_table(score) if score else ''}</header>"
    )


def _table(score: Score) -> str:
    rows = "".join(_table_row(each, score.declarations) for each in score.datasets)
    columns = ["images", "classes"]
    for each in score.declarations:
        unit = f", {each.unit}" if each.unit and each.unit != "%" else ""
        columns += [each.heading + unit, *(["95 % interval"] if each.name == PRIMARY else [])]
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    return (
        '<div class="scroll"><table><thead><tr><th scope="col">data set</th>'
        f"{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _table_row(score: DatasetScore, declarations: Sequence[Declaration]) -> str:
    cells = [f"{score.images:,}", f"{score.classes:,}"]
    for each in declarations:
        value = score.metrics.get(each.name)
        cells.append("–" if value is None else f"{value.value:.{each.digits}f}")
        if each.name == PRIMARY:
            cells.append("–" if value is None else _range(value))
    return (
        f'<tr><th scope="row">{escape(score.name)}</th>'
        + "".join(f"<td>{cell}</td>" for cell in cells)
        + "</tr>"
    )


def _range(value: Value) -> str:
    """An interval as a bar and in words."""
    if value.interval is None:
        return "–"
    low, high = value.interval
    return (
        f'<span class="range"><i style="left:{low:.2f}%;width:{high - low:.2f}%"></i>'
        f'<b style="left:{value.value:.2f}%"></b></span>{low:.1f} – {high:.1f}'
    )


def _filters() -> str:
    """Radio buttons that hide cards by CSS alone."""
    choices = (("all", "All"), ("right", "Right"), ("wrong", "Wrong"))
    return (
        '<fieldset class="filters"><legend>Show</legend>'
        + "".join(
            f'<input type="radio" name="show" id="show-{key}"{" checked" * (key == "all")}>'
            f'<label for="show-{key}">{word}</label>'
            for key, word in choices
        )
        + "</fieldset>"
    )


def _section(section: Section) -> str:
    shown = len(section.cards)
    count = f"{shown} of {section.images:,} images" if shown < section.images else f"{shown} images"
    cards = "".join(map(_card, section.cards))
    return (
        f"<section><h2>{escape(section.name)} <small>{count}</small></h2>"
        f'{_recall(section.recall)}<div class="cards">{cards}</div></section>'
    )


def _recall(recall: Sequence[tuple[str, float | None]]) -> str:
    if not recall:
        return ""
    rows = "".join(
        f'<li><span class="name">{escape(name)}</span><span class="value">'
        + ("no image" if value is None else f"{value:.0f} %")
        + f'</span><span class="bar"><i style="width:{value or 0:.2f}%"></i></span></li>'
        for name, value in recall
    )
    return f"<details><summary>Recall of each class</summary><ol>{rows}</ol></details>"


def _card(card: Card) -> str:
    best = card.answers[0][0]
    state = "" if card.truth is None else "right" if card.truth == best else "wrong"
    mark = {
        "": "",
        "right": '<p class="mark">✓ right</p>',
        "wrong": f'<p class="mark">✗ truth: {escape(card.truth or "")}</p>',
    }[state]
    bars = "".join(
        f'<li{_is_truth(name, card)}><span class="name">{escape(name)}</span>'
        f'<span class="value">{_percent(chance)}</span>'
        f'<span class="bar"><i style="width:{100 * chance:.2f}%"></i></span></li>'
        for name, chance in card.answers
    )
    return (
        f'<figure class="card {state}" title="{escape(card.id)}">'
        f'<div class="photo"><img loading="lazy" alt="{escape(card.truth or card.id)}"'
        f' src="{_data_uri(card.image)}">{mark}</div>'
        f"<figcaption><ol>{bars}</ol></figcaption></figure>"
    )


def _is_truth(name: str, card: Card) -> str:
    return ' class="truth"' if name == card.truth else ""


def _percent(chance: float) -> str:
    return "<&#8202;0.1 %" if 0 < chance < 0.0005 else f"{100 * chance:.1f} %"


_BARS: Mapping[str, str] = {
    "softmax": "among all classes of the data set",
    "sigmoid": "of each class by itself, so that they need not add up to 100 %",
}


def _footer(score: Score | None, kinds: Collection[Probabilities]) -> str:
    chosen = (
        "Photographs are taken from every class in turn, evenly spaced; bars are the model's"
        f" probabilities {' or '.join(_BARS[kind] for kind in sorted(kinds))}."
    )
    return escape(chosen if score is None else f"{chosen} {METHOD}.")


def _data_uri(image: Image.Image) -> str:
    small = image.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
