"""The contest's files: folders of a zero-shot task, right answers, predictions.

A task is ``<name>/classes.json`` (a JSON list of class names) beside ``<name>/img/``. Answers and
predictions are one format, ``{"<data set>": {"<image id>": <class index>}}``, where an image's id
is its file name without the suffix.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import DataError

CLASSES = "classes.json"
IMAGES = "img"

Answers = dict[str, dict[str, int]]
"""Class index of every image of every data set: ``answers["caltech101"]["0a1b"] == 7``."""

_MAX_BYTES = 1 << 30
_FORMAT = 'expected {"<data set>": {"<image id>": <class index>, ...}, ...}'


def find_zero_shot_folders(root: Path) -> list[Path]:
    """The task folders of ``root``: itself, or those right below it, sorted by name.

    Raises:
        DataError: ``root`` is missing, is no folder, or holds no task.
    """
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "no such folder"
        raise DataError(
            f"{root}: {what}",
            hint=f"name a folder with {CLASSES} and {IMAGES}/, or a folder of such folders",
        )
    if (root / CLASSES).is_file():
        return [root]
    found = sorted(
        (p for p in root.iterdir() if not p.name.startswith(".") and (p / CLASSES).is_file()),
        key=lambda path: path.name,
    )
    if not found:
        raise DataError(
            f"{root} holds no data set: neither it nor a folder right below it has a {CLASSES}",
            hint=f"a data set is a folder with {CLASSES} (a JSON list of names) and {IMAGES}/",
        )
    return found


def read_truth(path: Path) -> Answers:
    """Read the right answers (``gt.json``).

    Raises:
        DataError: missing, unreadable, not the format above, or without any data set.
    """
    return _read_answers(path, "answers")


def read_predictions(path: Path) -> Answers:
    """Read predictions, as ``engine predict`` or any entry of the contest writes them.

    Raises:
        DataError: as :func:`read_truth`.
    """
    return _read_answers(path, "predictions")


def _read_answers(path: Path, what: str) -> Answers:
    value = _read_json(path)
    if not isinstance(value, dict):
        raise DataError(f"{path} holds no {what}: its top is {_kind(value)}", hint=_FORMAT)
    if not value:
        raise DataError(f"{path} holds no {what}: it names no data set", hint=_FORMAT)
    problems: list[str] = []
    for name, images in value.items():
        if not isinstance(images, dict):
            problems.append(f"{name}: {_kind(images)} instead of image ids with classes")
            continue
        problems += [
            f"{name}, image {image}: {_show(label)} is no class index"
            for image, label in images.items()
            if isinstance(label, bool) or not isinstance(label, int) or label < 0
        ]
    if problems:
        more = [f"  and {len(problems) - 8} more"] if len(problems) > 8 else []
        listed = "\n".join([f"  {line}" for line in problems[:8]] + more)
        raise DataError(f"{path} is not in the format of {what}:\n{listed}", hint=_FORMAT)
    return {name: dict(images) for name, images in value.items()}


def _read_json(path: Path) -> Any:
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.stat().st_size > _MAX_BYTES:
        raise DataError(f"{path} is over {_MAX_BYTES >> 20} MiB, too large for a file of answers")
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"), object_pairs_hook=_no_twice)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error.reason}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}") from error


def _no_twice(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    """Refuse a key that stands twice: of two answers for an image, neither is the right one."""
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        raise ValueError(f"the key {_show(twice)} stands twice")
    return found


def _kind(value: object) -> str:
    names = {list: "a list", dict: "an object", str: "a text", bool: "true or false"}
    return names.get(type(value), "null" if value is None else "a number")


def _show(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
