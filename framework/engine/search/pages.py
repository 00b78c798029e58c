"""Pages of pictures: what a search found, and groups of pictures that are nearly the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from engine.contracts.dataset import Dataset
from engine.data.pictures import decode, rgb
from engine.errors import BrokenImageError
from engine.report import about, human, picture, render, size
from engine.search.catalogue import CatalogueEntry
from engine.search.duplicates import DuplicateGroup
from engine.search.index import Hit, SearchIndex, name_of, read_picture_of
from engine.search.scoring import FilterReport, RowScore, examples, read_scores

SIDE = 320
"""Pixels of the longer side of a picture on a page."""
MAX_PICTURES = 2_000
"""On one page; a page of more would have over 60 MB."""


@dataclass(frozen=True)
class _Card:
    image: str
    name: str
    problem: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class _Part:
    title: str
    note: str
    cards: list[_Card]


def hits_page(
    index: SearchIndex, hits: Sequence[Hit], query: str, about_query: Sequence[tuple[str, str]] = ()
) -> str:
    """The page of a search.

    Args:
        index: that was searched.
        hits: what was found.
        query: what was looked for, in words.
        about_query: more facts: labels and values.
    """
    cards = []
    for hit in hits:
        copies = [f"also {name_of(each)}" for each in hit.places[1:6]]
        if len(hit.places) > 6:
            copies.append(f"and {len(hit.places) - 6:,} more copies")
        cards.append(_card(hit.places[0], (f"{hit.score:.3f}", _facts(hit.places[0]), *copies)))
    facts = [("found", f"{len(hits):,}"), ("of", human(len(index))), *about_query]
    return render(
        "engine.search/hits.html",
        title=f"search: {query}",
        kind="pictures that were found",
        name=query,
        facts=facts,
        warnings=_warnings(index),
        groups=[_Part("", "", cards)] if cards else [],
        about=about(
            data=[str(index.folder)],
            notes=["The number below a picture is the cosine of its vector with the query's."],
            config=f"model {index.model_name}",
        ),
    )


def duplicates_page(groups: Sequence[DuplicateGroup], index: str, cosine: float) -> str:
    """The page of near-duplicates.

    Args:
        groups: the largest first; of very many only the first are shown.
        index: name of the index.
        cosine: from which on pictures were taken as nearly the same.
    """
    parts: list[_Part] = []
    left, hidden = MAX_PICTURES, 0
    for number, group in enumerate(groups, 1):
        shown = group.entries[: min(12, left)]
        if not shown:
            hidden += 1
            continue
        left -= len(shown)
        more = len(group.entries) - len(shown)
        note = f"cosine {group.lowest:.3f} and more" + (f", {more:,} not shown" if more else "")
        cards = [_card(entry, (_facts(entry),)) for entry in shown]
        parts.append(_Part(f"{number}: {len(group.entries)} pictures", note, cards))
    pictures = sum(len(group.entries) for group in groups)
    spare = sum(entry.size for group in groups for entry in group.entries[1:])
    return render(
        "engine.search/hits.html",
        title="near-duplicates",
        kind="pictures that are nearly the same",
        facts=[("groups", f"{len(groups):,}"), ("pictures", f"{pictures:,}"),
               ("bytes beside the first of each", size(spare))],
        warnings=[f"{hidden:,} groups are not shown"] if hidden else [],
        groups=parts,
        about=about(
            data=[index],
            notes=[f"Pictures of one group are joined by pairs with a cosine of at least {cosine}."
                   " The largest file stands first."],
        ),
    )  # fmt: skip


def scores_page(
    dataset: Dataset, report: FilterReport, scores: Path, output: Path, model: str
) -> str:
    """The page of a score filter: counts, and pairs at the lower end and at the threshold."""
    known = list(read_scores(scores))
    lowest, nearest = examples(scores, report.threshold)
    parts = [
        _Part(title, "", [_row_card(dataset, index, known[index]) for index in rows])
        for title, rows in (("lowest cosines", lowest), ("just kept", nearest))
    ]
    marks = (0, 5, 25, 50, 75, 95, 100)
    shown = ", ".join(f"{m} %: {v:.3f}" for m, v in zip(marks, report.quantiles, strict=True))
    return render(
        "engine.search/hits.html",
        title=f"score filter: {output.name}",
        kind="pairs of image and text, filtered by their cosine",
        name=output.name,
        facts=[("pairs", f"{report.pairs:,}"), ("kept", f"{report.kept_pairs:,}"),
               ("smallest cosine kept", f"{report.threshold:.3f}"),
               ("images that cannot be read", f"{report.broken:,}")],
        groups=parts,
        about=about(
            config=f"model {model}",
            data=[dataset.name],
            notes=[f"Cosines by share of the pairs: {shown}."],
        ),
    )  # fmt: skip


def _row_card(dataset: Dataset, index: int, row: RowScore) -> _Card:
    record, image, problem = dataset.record(index), "", ""
    try:
        image = picture(rgb(dataset.image(index)), SIDE)
    except BrokenImageError as error:
        problem = error.reason
    pairs = sorted(zip(row.scores, record.queries, strict=True), reverse=True)[:6]
    return _Card(image, record.id, problem, tuple(f"{value:.3f} {text}" for value, text in pairs))


def _card(entry: CatalogueEntry, lines: tuple[str, ...]) -> _Card:
    image, problem = "", ""
    try:
        image = picture(decode(read_picture_of(entry), at_least=SIDE).image, SIDE)
    except BrokenImageError as error:
        problem = error.reason
    except OSError as error:
        problem = f"it can no longer be read: {error.strerror or error}"
    return _Card(image, name_of(entry), problem, lines)


def _facts(entry: CatalogueEntry) -> str:
    try:
        day = datetime.fromtimestamp(entry.taken).date().isoformat()
    except (ValueError, OverflowError, OSError):
        day = "time not known"
    return f"{size(entry.size)}, {day}"


def _warnings(index: SearchIndex) -> list[str]:
    if index.recall >= 1:
        return []
    return [f"the index is too large to compare everything: of the ten nearest it finds"
            f" {100 * index.recall:.0f} %, measured when it was made"]  # fmt: skip
