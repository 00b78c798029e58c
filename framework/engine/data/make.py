"""Writing any dataset in the contest's own layout.

::

    OUT/engine-data.json             what made it, and its files, which alone are ours to replace
    OUT/train/metadata.json          {"image": 1, "queries": ["...", "..."]} a line
    OUT/train/images/<id>.jpg
    OUT/test/<name>/classes.json     ["...", "..."]
    OUT/test/<name>/img/<id>.jpg
    OUT/test/gt.json                 {"<name>": {"<id>": <class index>}}
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.contracts.dataset import Dataset, Record
from engine.core.files import refuse_foreign, replacing_folder
from engine.data.click_log import written_id
from engine.data.contest import CLASSES, IMAGES
from engine.data.pictures import rgb
from engine.errors import BrokenImageError, DataError

MARK = "engine-data.json"
TRAIN, TEST = "train", "test"

# An id becomes a file's name, and a data set's name a folder's.
_PLAIN = re.compile(r"[^./\\:\x00-\x1f\x7f][^/\\:\x00-\x1f\x7f]{0,199}")

Track = Callable[[Iterable[int], str, int], Iterable[int]]
"""Passes rows on while it shows their progress: ``track(rows, what, number of rows)``."""


@dataclass(frozen=True)
class Written:
    """What came out.

    Attributes:
        name: of the data set.
        images: images written.
        texts: queries written (training) or classes (test).
        broken: ids of the images that did not decode and were left out.
        without_text: ids of training images without a query or a class, left out.
    """

    name: str
    images: int
    texts: int
    broken: tuple[str, ...] = ()
    without_text: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """A whole layout: training data and test sets."""

    train: Written | None
    tests: tuple[Written, ...]


def write_contest_layout(
    out: Path,
    train: Dataset | None,
    tests: Sequence[Dataset],
    *,
    about: Mapping[str, Any],
    force: bool = False,
    track: Track = lambda rows, what, count: rows,
) -> Layout:
    """Write datasets as ``OUT`` above, whole or not at all.

    Args:
        out: the folder; made with its parents.
        train: training data; a row without queries is written with its class name as the query.
        tests: data sets with classes, each of another name.
        about: what made the data (plugin, settings), for the mark; JSON types.
        force: replace what an earlier call wrote at ``out``. Anything else is never replaced.
        track: shows the progress.

    Raises:
        DataError: ``out`` is in use; an id or name cannot be a file's name or stands twice; a test
            set has no classes; not one image could be written.
    """
    names = [dataset.name for dataset in tests]
    for name in names:
        if not _PLAIN.fullmatch(name) or names.count(name) > 1 or name == "gt.json":
            raise DataError(f"a test set cannot be called {name!r}: not a plain name, or not alone")
    with _replacing(out, force=force) as folder:
        done = None if train is None else write_click_log(train, folder / TRAIN, track=track)
        written, truth = [], {}
        for dataset in tests:
            result, labels = write_zero_shot(dataset, folder / TEST / dataset.name, track=track)
            written.append(result)
            truth[dataset.name] = labels
        if tests:
            _write_json(folder / TEST / "gt.json", truth)
        layout = Layout(done, tuple(written))
        mark = {"format": 1, **about, "written": asdict(layout), "files": _files(folder)}
        _write_json(folder / MARK, mark)
    return layout


def write_click_log(
    dataset: Dataset, folder: Path, *, track: Track = lambda rows, what, count: rows
) -> Written:
    """Write training data: ``metadata.json`` and ``images/`` (``formats.CLICK_LOG``).

    Raises:
        DataError: as :func:`write_contest_layout`.
    """
    images = folder / "images"
    images.mkdir(parents=True)
    broken, without_text, count, texts = [], [], 0, 0
    with (folder / "metadata.json").open("w", encoding="utf-8", newline="\n") as lines:
        for index, row in _rows(dataset, f"{dataset.name}, training", track):
            queries = row.queries
            if not queries and row.label is not None:
                queries = (dataset.classes[row.label],)
            if not queries:
                without_text.append(row.id)
                continue
            if not _write_image(dataset, index, images / f"{row.id}.jpg"):
                broken.append(row.id)
                continue
            line = {"image": written_id(row.id), "queries": list(queries)}
            lines.write(json.dumps(line, ensure_ascii=False) + "\n")
            count, texts = count + 1, texts + len(queries)
    _check_any(dataset, count, broken, without_text)
    return Written(dataset.name, count, texts, tuple(broken), tuple(without_text))


def write_zero_shot(
    dataset: Dataset, folder: Path, *, track: Track = lambda rows, what, count: rows
) -> tuple[Written, dict[str, int]]:
    """Write a test set: ``classes.json`` and ``img/`` (``formats.ZERO_SHOT``).

    Returns:
        What was written, and the class index of each image that has one.

    Raises:
        DataError: as :func:`write_contest_layout`.
    """
    if not dataset.classes:
        raise DataError(f"data set {dataset.name} has no classes, so it cannot be a test set")
    images = folder / IMAGES
    images.mkdir(parents=True)
    _write_json(folder / CLASSES, list(dataset.classes))
    broken, count, labels = [], 0, {}
    for index, row in _rows(dataset, f"{dataset.name}, test", track):
        if not _write_image(dataset, index, images / f"{row.id}.jpg"):
            broken.append(row.id)
            continue
        count += 1
        if row.label is not None:
            labels[row.id] = row.label
    _check_any(dataset, count, broken, [])
    return Written(dataset.name, count, len(dataset.classes), tuple(broken)), labels


def _rows(dataset: Dataset, what: str, track: Track) -> Iterator[tuple[int, Record]]:
    seen: set[str] = set()
    for index in track(range(len(dataset)), what, len(dataset)):
        row = dataset.record(index)
        if not _PLAIN.fullmatch(row.id) or row.id in seen:
            raise DataError(
                f"data set {dataset.name}, row {index}: the id {row.id!r} "
                + ("stands twice" if row.id in seen else "cannot be the name of a file")
            )
        seen.add(row.id)
        yield index, row


def _write_image(dataset: Dataset, index: int, path: Path) -> bool:
    try:
        image = rgb(dataset.image(index))
    except BrokenImageError:
        return False
    image.save(path, format="JPEG", quality=95, subsampling=0)
    return True


def _check_any(dataset: Dataset, count: int, broken: list[str], without_text: list[str]) -> None:
    if not count:
        raise DataError(
            f"data set {dataset.name}: not one of {len(dataset)} images could be written"
            f" ({len(broken)} broken, {len(without_text)} without text)"
        )


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _replacing(out: Path, *, force: bool) -> Iterator[Path]:
    """Give a temporary sibling to write into; at the end it becomes ``out``."""

    def check(folder: Path) -> None:
        _check_free(folder, force=force)

    with replacing_folder(out, check, error=DataError, sync=False) as temporary:
        yield temporary


def _check_free(out: Path, *, force: bool) -> None:
    """Only what an earlier call wrote may be replaced, and only where that is asked for."""
    if not os.path.lexists(out) or (out.is_dir() and not any(out.iterdir())):
        return
    written = _written(out / MARK) if out.is_dir() else None
    if written is None:
        raise DataError(
            f"{out} exists and `engine data make` did not write it, so it is not overwritten",
            hint="choose another folder, or remove it yourself",
        )
    refuse_foreign(out, {MARK, *written}, "what `engine data make` wrote", DataError)
    if not force:
        raise DataError(f"{out} exists already", hint="`--force` replaces it")


def _written(mark: Path) -> list[str] | None:
    """The files that a mark lists; ``None`` where it is not one."""
    try:
        if not stat.S_ISREG(mark.lstat().st_mode):
            return None
        files = json.loads(mark.read_bytes())["files"]
        return [name for name in files if isinstance(name, str)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _files(folder: Path) -> list[str]:
    """Every file below a folder, relative to it."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in found)
