"""Results and answers in other programs' layouts."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from engine.bench.results import DatasetResult, EntryAnswers, Result
from engine.contracts.metric import Declaration
from engine.core.foreign import clean_name

PROGRAM = "clip_benchmark"
"""As metrics name it in ``exported_as``."""

_ALWAYS = ("acc5",)
"""What that program writes as NaN where it is not known; other metrics are left out."""

CLASSIFICATION = "zeroshot_classification"
RETRIEVAL = "zeroshot_retrieval"

_LONGEST_NAME = 200
"""Bytes of a file's name without its ending; file systems take 255, temporary names need some."""

_NOT_IN_NAMES = re.compile(r"^\.|[/\\\x00-\x1f\x7f]")


def clip_benchmark_json(
    result: Result, declarations: Sequence[Declaration], language: str | None = None
) -> list[dict[str, Any]]:
    """A result as CLIP_benchmark's files, a dictionary for each data set and task.

    Each is to be written as a JSON file of its own (``clip_benchmark/cli.py``, version 1.6.2).
    Shares are in 0..1, as there. ``acc5`` is NaN where it is not known, as there with fewer than
    five classes, so write them with ``json.dump``'s default ``allow_nan``. ``model`` is the entry's
    name; ``pretrained`` tells its seed, or the artifact or file that it is. Recall@k of "image
    retrieval" is over texts, of "text retrieval" over images.

    Args:
        result: of one entry and seed; a failed one has no data sets and gives nothing.
        declarations: of the leaderboard's metrics. Those that CLIP_benchmark does not know stand
            beside its own, under their own names.
        language: of the class names, such as ``"ru"``; ``None``: ``"ru"`` where most of their
            letters are Cyrillic, else ``"en"``.
    """
    found = []
    for each in result.datasets:
        head = {"dataset": each.name, "model": result.entry, "pretrained": _pretrained(result)}
        last = {"language": language or _language(each.classes)}
        tasks = {CLASSIFICATION: _metrics(each, declarations, retrieval=False)}
        if recalls := _metrics(each, declarations, retrieval=True):
            tasks[RETRIEVAL] = recalls
        found += [{**head, "task": task, "metrics": tasks[task], **last} for task in tasks]
    return found


def _metrics(
    each: DatasetResult, declarations: Sequence[Declaration], *, retrieval: bool
) -> dict[str, float]:
    """The metrics of a task by their names there; percent become shares."""
    found = {}
    for declaration in declarations:
        if retrieval != ("retrieval" in declaration.needs):
            continue
        name = declaration.exported_as.get(PROGRAM, declaration.name)
        value = each.metrics.get(declaration.name)
        if value is not None:
            found[name] = value.value / 100 if declaration.unit == "%" else value.value
        elif name in _ALWAYS:
            found[name] = math.nan
    return found


def clip_benchmark_name(each: Mapping[str, Any]) -> str:
    """The name of the file of one dictionary of :func:`clip_benchmark_json`.

    Names of data sets and files are others' and may hold anything: what no file name holds, or
    what would lead into another folder, becomes ``_``; a name that is too long for a file system
    is cut and ends with its digest.
    """
    keys = ("dataset", "pretrained", "model", "language", "task")
    name = _NOT_IN_NAMES.sub("_", clean_name("_".join(str(each[key]) for key in keys)))
    if len(name.encode()) > _LONGEST_NAME:
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        name = name.encode()[: _LONGEST_NAME - 17].decode(errors="ignore") + "_" + digest
    return f"{name}.json"


def _pretrained(result: Result) -> str:
    if result.provenance.source == "config":
        return f"seed{result.seed}"
    return PurePath(result.provenance.path).name


def _language(classes: tuple[str, ...]) -> str:
    letters = [c for name in classes for c in name if c.isalpha()]
    cyrillic = len(re.findall(r"[\u0400-\u04ff]", "".join(letters)))
    return "ru" if 2 * cyrillic > len(letters) else "en"


def contest_predictions(answers: EntryAnswers) -> dict[str, dict[str, int]]:
    """EntryAnswers as the contest's predictions, ``{data set: {image id: class index}}``.

    Images without an answer (broken ones) are left out; the contest counts them as wrong.
    """
    return {
        name: {image: top[0] for image, top in zip(each.ids, each.top, strict=True) if top}
        for name, each in answers.datasets.items()
    }
