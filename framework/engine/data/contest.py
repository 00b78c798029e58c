"""The contest's files: folders of a zero-shot task, right answers, predictions.

A task is ``<name>/classes.json`` (a JSON list of class names) beside ``<name>/img/``. Answers and
predictions are one format, ``{"<data set>": {"<image id>": <class index>}}``, where an image's id
is its file name without the suffix.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from engine.core.foreign import clean_name, read_json
from engine.errors import DataError
from engine.printable import one_line

_log = logging.getLogger(__name__)

CLASSES = "classes.json"
IMAGES = "img"

Answers = dict[str, dict[str, int]]
"""Class index of every image of every data set: ``answers["caltech101"]["0a1b"] == 7``."""

MAX_CLASSES = 1_000_000
"""Classes that a file of answers may speak of, over all its data sets. The largest public task has
some 22,000 (ImageNet-21k); counts of every class are kept in memory."""

_SHOWN = 8
_FORMAT = 'expected {"<data set>": {"<image id>": <class index>, ...}, ...}'


def find_zero_shot_folders(root: Path) -> list[Path]:
    """The task folders of ``root``: itself, or those right below it, sorted by name.

    Raises:
        DataError: ``root`` is missing, is not a folder, or holds no task.
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
            hint=f"a data set is a folder with {CLASSES} (a JSON list of names) and {IMAGES}/;"
            " for any other folder of pictures, `engine predict` takes --classes 'кошка,собака'",
        )
    return found


def read_classes(path: Path) -> tuple[str, ...]:
    """Read the names of a task's classes (``classes.json``), each as ``clean_name`` gives it.

    Raises:
        DataError: missing, unreadable, too large, not a list of different names, or empty.
    """
    names = read_json(path, hint='expected a JSON list of class names: ["кошка", "собака", ...]')
    hint = 'expected a list of different names: ["кошка", "собака", ...]'
    if not isinstance(names, list):
        raise DataError(f"{path} is not a JSON list", hint=hint)
    if not names:
        raise DataError(f"{path} is an empty list: no class to choose from", hint=hint)
    first: dict[str, int] = {}
    for place, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            shown = json.dumps(name, ensure_ascii=False)[:60]
            raise DataError(f"{path}: class {place} is {shown}, not a name", hint=hint)
        name = clean_name(name)
        if name in first:
            raise DataError(
                f"{path}: classes {first[name]} and {place} are both {name!r}", hint=hint
            )
        first[name] = place
    tell_of_cleaned(path, "class names", names)
    return tuple(first)


def tell_of_cleaned(where: Path, what: str, names: Sequence[str]) -> None:
    """Warn of names that UTF-8 cannot hold: each stands in answers as it is cleaned."""
    cleaned = [name for name in names if clean_name(name) != name]
    if cleaned:
        _log.warning(
            "%s: %d %s that UTF-8 cannot hold are written with escapes (first: %s)",
            where, len(cleaned), what, clean_name(cleaned[0]),
        )  # fmt: skip


def read_truth(path: Path) -> Answers:
    """Read the right answers (``gt.json``).

    Names that UTF-8 cannot hold are given as :func:`engine.core.foreign.clean_name` gives them.

    Raises:
        DataError: missing, unreadable, too large, not the format above, without any data set, or
            of more than ``MAX_CLASSES`` classes.
    """
    return _read_answers(path, "answers")


def read_predictions(path: Path) -> Answers:
    """Read predictions, as ``engine predict`` or any entry of the contest writes them.

    Raises:
        DataError: as :func:`read_truth`.
    """
    return _read_answers(path, "predictions")


def _read_answers(path: Path, what: str) -> Answers:
    value = read_json(path, hint=_FORMAT)
    if not isinstance(value, dict):
        raise DataError(f"{path} holds no {what}: its top is {_kind(value)}", hint=_FORMAT)
    if not value:
        raise DataError(f"{path} holds no {what}: it names no data set", hint=_FORMAT)
    problems = list(islice(_problems(value), _SHOWN + 1))
    if problems:
        more = ["and more"] if len(problems) > _SHOWN else []
        listed = "; ".join(problems[:_SHOWN] + more)
        raise DataError(f"{path} is not in the format of {what}: {listed}", hint=_FORMAT)
    classes = sum(max(images.values(), default=0) + 1 for images in value.values())
    if classes > MAX_CLASSES:
        raise DataError(
            f"{path} names {classes:,} classes in all, where {MAX_CLASSES:,} are allowed",
            hint="class indices count the class names of a data set from 0",
        )
    return value


def _problems(value: dict[str, Any]) -> Iterator[str]:
    """What is not in the format, in words."""
    for name, images in value.items():
        name = one_line(name, 60)
        if not isinstance(images, dict):
            yield f"{name}: {_kind(images)} instead of image ids with classes"
            continue
        for image, label in images.items():
            if isinstance(label, bool) or not isinstance(label, int) or label < 0:
                yield f"{name}, image {one_line(image, 60)}: {_show(label)} is not a class index"
            elif label >= MAX_CLASSES:
                yield (
                    f"{name}, image {one_line(image, 60)}: class index {label} is too large"
                    f" ({MAX_CLASSES - 1:,} at most)"
                )


def _kind(value: object) -> str:
    names = {list: "a list", dict: "an object", str: "a text", bool: "true or false"}
    return names.get(type(value), "null" if value is None else "a number")


def _show(value: object) -> str:
    if isinstance(value, (dict, list)):
        return _kind(value)
    return one_line(json.dumps(value, ensure_ascii=False), 60)
