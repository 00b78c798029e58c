"""Answers as files for other programs: every image with its classes and their probabilities."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.evaluate.runner import DatasetRun

COLUMNS = ("dataset", "image", "rank", "index", "class", "probability", "error")


def answers_csv(runs: Sequence[DatasetRun], top: int) -> str:
    """One line for each answer, best first; an image that cannot be read has one with its error.

    The columns are :data:`COLUMNS`: ``index`` counts the classes from 0, ``rank`` the answers of an
    image from 1, ``probability`` is 0..1.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for run in runs:
        for image in _images(run, top):
            answers = image.get("answers", [])
            for rank, each in enumerate(answers, 1):
                found = (each["index"], each["class"], f"{each['probability']:.6g}")
                writer.writerow((run.dataset.name, image["image"], rank, *found, ""))
            if not answers:
                error = (image["error"],)
                writer.writerow((run.dataset.name, image["image"], "", "", "", "", *error))
    return text.getvalue()


def answers_json(runs: Sequence[DatasetRun], top: int) -> str:
    """``{"datasets": [{"name", "classes", "images": [{"image", "answers" or "error"}]}]}``."""
    found = [
        {
            "name": run.dataset.name,
            "classes": list(run.dataset.classes),
            "images": list(_images(run, top)),
        }
        for run in runs
    ]
    return json.dumps({"datasets": found}, ensure_ascii=False, indent=1) + "\n"


def _images(run: DatasetRun, top: int) -> Iterator[dict[str, Any]]:
    """The images of a run in the order of its data set, broken ones among them."""
    found: dict[int, dict[str, Any]] = {
        each.index: {"image": each.id, "error": each.reason} for each in run.broken
    }
    for row in run.rows:
        answers = [
            {"index": index, "class": run.dataset.classes[index], "probability": probability}
            for index, probability in zip(row.classes[:top], row.probabilities[:top], strict=True)
        ]
        found[row.index] = {"image": row.record.id, "answers": answers}
    for index in sorted(found):
        yield found[index]
