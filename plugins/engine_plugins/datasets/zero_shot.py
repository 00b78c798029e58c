"""The contest's evaluation data: classes.json and img/."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from PIL.Image import Image

from engine.contracts import Dataset, Record
from engine.core.foreign import clean_name, read_json
from engine.data.contest import CLASSES, read_classes, tell_of_cleaned
from engine.data.pictures import open_image
from engine.data.pictures.files import is_picture_file
from engine.errors import DataError
from engine_plugins.datasets.settings import ZeroShotFolderSettings

_log = logging.getLogger(__name__)


class ZeroShotFolder(Dataset):
    """A folder of images to be sorted into classes, images in the order of their file names.

    Every picture in img/ is used, whatever its name ends with. An image's id is its file name
    without the suffix. With ``truth`` each image has its label;
    an image that the truth does not know has none.

    Attributes:
        left_out: names in img/ that are not pictures (hidden files are not named).
        unmatched: ids of the truth without an image here (a partial download, say).

    Raises:
        DataError: folder, classes or images are missing, empty or contradictory, or the truth does
            not fit them; says which.
    """

    def __init__(self, settings: ZeroShotFolderSettings) -> None:
        self.settings = settings
        folder = settings.path
        if not folder.is_dir():
            raise DataError(
                f"zero-shot folder {folder}: no such folder",
                hint="`path` names a folder with classes.json and img/",
            )
        self.name = clean_name(folder.resolve().name)
        self.classes = read_classes(folder / CLASSES)
        self._files, self.left_out = _find_images(folder / "img")
        self._labels: dict[str, int] = {}
        self.unmatched: tuple[str, ...] = ()
        if settings.truth is not None:
            self._labels = _read_labels(settings.truth, self.name, len(self.classes))
            ids = {_id_of(file) for file in self._files}
            self.unmatched = tuple(sorted(self._labels.keys() - ids))
            if self.unmatched:
                _log.warning(
                    "%s: %d of the %d images of %s are not in the folder (first: %s)",
                    folder, len(self.unmatched), len(self._labels), settings.truth,
                    self.unmatched[0],
                )  # fmt: skip

    def __len__(self) -> int:
        return len(self._files)

    def record(self, index: int) -> Record:
        """The row at an index: its id, texts and class."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        name = _id_of(self._files[index])
        return Record(name, label=self._labels.get(name))

    def image(self, index: int) -> Image:
        """The picture of a row."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return open_image(self.settings.path / "img" / self._files[index])


def _find_images(folder: Path) -> tuple[list[str], tuple[str, ...]]:
    """The names of the pictures in a folder, and of what is left out, in order."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder", hint="the images belong into it")
    files: list[str] = []
    others: list[str] = []
    for path in sorted(folder.iterdir()):
        if not path.name.startswith("."):
            (files if is_picture_file(path) else others).append(path.name)
    if not files:
        there = f": none of its {len(others)} files is a picture" if others else ""
        raise DataError(
            f"{folder} has no image{there}",
            hint="pictures are JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF files",
        )
    if others:
        _log.warning(
            "%s: %d files are not pictures and are left out (first: %r)",
            folder, len(others), others[0],
        )  # fmt: skip
    first: dict[str, str] = {}
    for file in files:
        name = _id_of(file)
        if name in first:
            raise DataError(
                f"{folder}: {first[name]} and {file} have the same id `{name}`",
                hint="predictions go by the id, so remove or rename one of them",
            )
        first[name] = file
    tell_of_cleaned(folder, "names of images", files)
    return files, tuple(others)


def _id_of(file: str) -> str:
    """The image's id: its file name without the suffix, such that UTF-8 can hold it."""
    return clean_name(Path(file).stem)


def _read_labels(path: Path, name: str, classes: int) -> dict[str, int]:
    hint = f'expected {{"{name}": {{"<image id>": <class index>, ...}}}}'
    truth = read_json(path, hint=hint)
    if not isinstance(truth, dict) or not isinstance(truth.get(name), dict):
        known = ", ".join(list(truth)[:8]) if isinstance(truth, dict) else "no data set"
        raise DataError(f"{path} has no data set `{name}` (it has: {known})", hint=hint)
    for image, label in truth[name].items():
        if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < classes:
            raise DataError(
                f"{path}: image {image} of `{name}` has class {json.dumps(label)[:60]};"
                f" there are classes 0 to {classes - 1}",
                hint=hint,
            )
    return dict(truth[name])
