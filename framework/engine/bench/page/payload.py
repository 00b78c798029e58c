"""What the page's script works on: leaderboard and answers as one JSON object, kept small."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.bench.formatting import (
    badges,
    common_notes,
    limit_words,
    mean,
    provenance_words,
    results_of,
    untrained,
)
from engine.bench.leaderboard import Cell, Comparison, Leaderboard, Row, SizeBucket
from engine.bench.page.pictures import ShownPicture, rows
from engine.bench.results import DatasetAnswers, EntryAnswers, Part, Result
from engine.contracts.metric import PRIMARY, Declaration
from engine.errors import DataError

CONFUSIONS = 3000
"""Pairs of classes kept of an entry on a data set, the most frequent first."""


def payload(
    leaderboard: Leaderboard, answers: Mapping[str, EntryAnswers], shown: Sequence[ShownPicture]
) -> dict[str, Any]:
    """Everything that the page shows.

    Entries, data sets and classes are named by their place, so that names stand there once. Numbers
    are rounded to what can be seen.

    Args:
        leaderboard: what is shown.
        answers: of an entry's first seed, by entry.
        shown: the pictures.

    Raises:
        DataError: answers speak of other classes than the leaderboard.
    """
    place = {row.entry: i for i, row in enumerate(leaderboard.rows)}
    datasets = {each.name: each for each in leaderboard.datasets}
    for entry, all_ in answers.items():
        for name, found in all_.datasets.items():
            if name in datasets and found.classes != datasets[name].classes:
                raise DataError(
                    f"the answers of `{entry}` to data set `{name}` speak of other classes than"
                    " the leaderboard's",
                    hint="run the bench again, so that all answers are to the same data",
                )
    return {
        "suite": leaderboard.suite,
        "provenance": provenance_words(leaderboard),
        "method": leaderboard.method,
        "skipped": dict(leaderboard.skipped),
        "notes": common_notes(leaderboard),
        "metrics": [_declaration(each) for each in leaderboard.declarations],
        "primary": PRIMARY,
        "datasets": [
            {"name": each.name, "images": each.images, "classes": list(each.classes),
             "described": each.described, "counts": _counts(answers, each.name, len(each.classes))}
            for each in leaderboard.datasets
        ],
        "entries": [_entry(leaderboard, row, answers.get(row.entry)) for row in leaderboard.rows],
        "size_buckets": [_size_bucket(each, place) for each in leaderboard.size_buckets],
        "pairs": [_pair(leaderboard, each, place) for each in leaderboard.comparisons],
        "pictures": _pictures(leaderboard, answers, shown),
    }  # fmt: skip


def _declaration(each: Declaration) -> dict[str, Any]:
    return {
        "name": each.name,
        "heading": each.heading,
        "meaning": each.meaning,
        "unit": each.unit,
        "higherIsBetter": each.higher_is_better,
        "digits": each.digits,
    }


def embed(value: Any) -> str:
    """JSON that can stand inside a ``<script>`` element, whatever its texts say.

    What is not a number becomes ``null``: a browser's ``JSON.parse`` knows no NaN.
    """
    plain = json.dumps(_rounded(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        plain = plain.replace(character, f"\\u{ord(character):04x}")
    return plain


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.10g}") if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate is not text
    if isinstance(value, Mapping):
        return {str(key): _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return value if value is None or isinstance(value, int) else str(value)


def _entry(leaderboard: Leaderboard, row: Row, answers: EntryAnswers | None) -> dict[str, Any]:
    results = results_of(leaderboard, row.entry)
    cells = [row.datasets.get(each.name) for each in leaderboard.datasets]
    speed = row.speed
    return {
        "name": row.entry,
        "seeds": list(row.seeds),
        "failed": [[seed, why] for seed, why in row.failed.items()],
        "badges": badges(leaderboard, row),
        "untrained": untrained(results),
        "bytes": row.model_size and row.model_size.bytes,
        "parameters": row.model_size and row.model_size.parameters,
        "buffers": row.model_size and row.model_size.buffers,
        "parts": [
            [part.name, part.plugin, part.parameters, part.bytes, _storages(part)]
            for part in (row.model_size.parts if row.model_size else ())
        ],
        **_metrics(row),
        "speed": speed and speed.model_dump(),
        "contest": row.contest and row.contest.model_dump(),
        "onBytesFront": row.on_bytes_front,
        "onMsFront": row.on_ms_front,
        "cells": [
            cell and _cell(cell, each.name, results, answers)
            for each, cell in zip(leaderboard.datasets, cells, strict=True)
        ],
        "results": [_result(result) for result in results],
    }


def _storages(part: Part) -> str:
    """How a part is stored, the storage with the most bytes first."""
    return ", ".join(sorted(part.storage, key=lambda name: (-part.storage[name], name)))


def _metrics(held: Row | Cell) -> dict[str, Any]:
    """Each metric as ``[value, low, high, spread]``, and the one that ranks beside them."""
    return {
        "metrics": {
            name: [value.value, value.low, value.high, held.spread.get(name)]
            for name, value in held.metrics.items()
        },
        "accuracy": held.accuracy,
        "interval": held.interval,
        "spread": held.spread.get(PRIMARY),
    }


def _cell(
    cell: Cell, name: str, results: Sequence[Result], answers: EntryAnswers | None
) -> dict[str, Any]:
    found = [each for result in results if (each := result.dataset(name)) is not None]
    recall = [mean(of_class) for of_class in zip(*(each.recall for each in found), strict=True)]
    answered = answers.datasets.get(name) if answers else None
    return {
        **_metrics(cell),
        "chance": cell.chance,
        "contamination": cell.contamination,
        "notes": list(dict.fromkeys(note for each in found for note in each.notes)),
        "missing": found[0].missing if found else None,
        "recall": [None if value is None else round(value, 1) for value in recall],
        "bins": [
            [each.low, each.high, each.images, each.confidence, each.accuracy]
            for each in (found[0].calibration if found else ())
        ],
        "confusion": None if answered is None else _confusion(answered),
    }


def _confusion(found: DatasetAnswers) -> dict[str, Any]:
    """How often images of one class got another as answer: ``[class, answer, images, ...]``.

    The most frequent stand first, right answers are left out; -1 for no answer. ``left`` pairs are
    left out.
    """
    counts = Counter(
        (label, -1 if answer is None else answer[0])
        for _, label, answer in rows(found)
        if label >= 0
    )
    wrong = sorted((-n, pair) for pair, n in counts.items() if pair[0] != pair[1])
    right = [counts[i, i] for i in range(len(found.classes))]
    flat = [number for n, (label, answer) in wrong[:CONFUSIONS] for number in (label, answer, -n)]
    return {"right": right, "wrong": flat, "left": max(0, len(wrong) - CONFUSIONS)}


def _counts(answers: Mapping[str, EntryAnswers], name: str, classes: int) -> list[int] | None:
    """Images of each class."""
    for all_ in answers.values():
        if name in all_.datasets:
            counts = Counter(all_.datasets[name].labels)
            return [counts[i] for i in range(classes)]
    return None


def _result(result: Result) -> dict[str, Any]:
    provenance = result.provenance
    failure = result.failure
    return {
        "seed": result.seed,
        "key": result.key,
        "failure": failure and {"what": failure.what, "details": failure.details},
        "accuracy": mean(each.accuracy for each in result.datasets),
        "provenance": provenance.model_dump(mode="python", exclude={"stages"}),
        "stages": [_flat(stage) for stage in provenance.stages],
    }


def _flat(stage: Mapping[str, Any]) -> list[list[str]]:
    """A stage as names with values in words."""
    return [
        [str(key), value if isinstance(value, str) else json.dumps(_rounded(value))]
        for key, value in stage.items()
    ]


def _size_bucket(size_bucket: SizeBucket, place: Mapping[str, int]) -> dict[str, Any]:
    return {
        "limit": size_bucket.limit,
        "words": limit_words(size_bucket.limit),
        "ranks": [[place[each.entry], each.best, each.worst] for each in size_bucket.ranks],
        "over": [place[entry] for entry in size_bucket.over],
        "without_model": [place[entry] for entry in size_bucket.without_model],
    }


def _pair(leaderboard: Leaderboard, each: Comparison, place: Mapping[str, int]) -> dict[str, Any]:
    def only(found: Mapping[str, int]) -> list[int | None]:
        return [found.get(dataset.name) for dataset in leaderboard.datasets]

    return {
        "a": place[each.a],
        "b": place[each.b],
        "difference": each.difference,
        "interval": each.interval,
        "p": each.p,
        "corrected": each.corrected,
        "real": each.real,
        "onlyA": only(each.only_a),
        "onlyB": only(each.only_b),
    }


def _pictures(
    leaderboard: Leaderboard, answers: Mapping[str, EntryAnswers], shown: Sequence[ShownPicture]
) -> list[dict[str, Any]]:
    """Each picture with every entry's answer to it."""
    wanted = {(each.dataset, each.id) for each in shown}
    given: dict[tuple[str, str], list[Any]] = {key: [] for key in wanted}
    for place, row in enumerate(leaderboard.rows):
        for name, found in _datasets(answers.get(row.entry)):
            for image, _, answer in rows(found):
                if (name, image) in wanted:
                    given[name, image].append([place, *(answer or (-1, None))])
    names = [each.name for each in leaderboard.datasets]
    return [
        {"dataset": names.index(each.dataset), "id": each.id, "label": each.label,
         "source": each.source, "answers": given[each.dataset, each.id]}
        for each in shown
        if each.dataset in names
    ]  # fmt: skip


def _datasets(answers: EntryAnswers | None) -> Iterable[tuple[str, DatasetAnswers]]:
    return answers.datasets.items() if answers else ()
