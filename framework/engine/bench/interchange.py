"""Results and answers in other programs' layouts."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from engine.bench.results import Answers, DatasetResult, Result, Retrieval
from engine.foreign import clean_name

CLASSIFICATION = "zeroshot_classification"
RETRIEVAL = "zeroshot_retrieval"

_LONGEST_NAME = 200
"""Bytes of a file's name without its ending; file systems take 255, temporary names need some."""

_NOT_IN_NAMES = re.compile(r"^\.|[/\\\x00-\x1f\x7f]")


def clip_benchmark_json(result: Result, language: str | None = None) -> list[dict[str, Any]]:
    """A result as CLIP_benchmark's files (``clip_benchmark/cli.py`` of clip-benchmark 1.6.2): one
    dictionary a data set and task, each to be written as a JSON file of its own.

    Shares are in 0..1, as there. ``acc5`` is NaN where it is not known, as there with fewer than
    five classes, so write them with ``json.dump``'s default ``allow_nan``. ``model`` is the entry's
    name; ``pretrained`` tells its seed, or the artifact or file that it is. Recall@k of "image
    retrieval" is over texts, of "text retrieval" over images.

    Args:
        result: of one entry and seed; a failed one has no data sets and gives nothing.
        language: of the class names, such as ``"ru"``; ``None``: ``"ru"`` where most of their
            letters are Cyrillic, else ``"en"``.
    """
    found = []
    for each in result.datasets:
        head = {"dataset": each.name, "model": result.entry, "pretrained": _pretrained(result)}
        last = {"language": language or _language(each.classes)}
        tasks = {CLASSIFICATION: _classification(each)}
        if each.retrieval is not None:
            tasks[RETRIEVAL] = _retrieval(each.retrieval)
        found += [{**head, "task": task, "metrics": tasks[task], **last} for task in tasks]
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
    if result.made.source == "config":
        return f"seed{result.seed}"
    return PurePath(result.made.path).name


def _classification(each: DatasetResult) -> dict[str, float]:
    return {
        "acc1": each.accuracy / 100,
        "acc5": math.nan if each.top5 is None else each.top5 / 100,
        "mean_per_class_recall": each.mean_recall / 100,
    }


def _retrieval(found: Retrieval) -> dict[str, float]:
    metrics = {}
    for k in found.text_to_image:
        metrics[f"image_retrieval_recall@{k}"] = found.text_to_image[k] / 100
        if k in found.image_to_text:
            metrics[f"text_retrieval_recall@{k}"] = found.image_to_text[k] / 100
    return metrics


def _language(classes: tuple[str, ...]) -> str:
    letters = [c for name in classes for c in name if c.isalpha()]
    cyrillic = len(re.findall(r"[\u0400-\u04ff]", "".join(letters)))
    return "ru" if 2 * cyrillic > len(letters) else "en"


def contest_predictions(answers: Answers) -> dict[str, dict[str, int]]:
    """Answers as the contest's predictions, ``{data set: {image id: class index}}``.

    Images without an answer (broken ones) are left out; the contest counts them as wrong.
    """
    return {
        name: {image: top[0] for image, top in zip(each.ids, each.top, strict=True) if top}
        for name, each in answers.datasets.items()
    }
