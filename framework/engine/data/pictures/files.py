"""Which files are pictures, and where they lie in folders. Imports no torch."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from engine.data.pictures.reader import looks_like_picture
from engine.errors import DataError

READ = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif",
        ".tiff", ".avif")  # fmt: skip
NOT_READ = (".heic", ".heif", ".jxl", ".jp2", ".svg", ".ico", ".psd", ".tga", ".ppm")
"""Meant as pictures too: each is listed as broken instead of being passed over."""
SUFFIXES = frozenset({*READ, *NOT_READ})
"""How files of pictures end. A file with another ending, or none, is one by its first bytes."""

_log = logging.getLogger(__name__)


def is_picture_file(path: Path) -> bool:
    """Whether a file is meant as a picture: by its ending, else by its first bytes."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        if not path.is_file():  # a folder, or a pipe that would be waited for
            return False
        with path.open("rb") as file:
            return looks_like_picture(file.read(16))
    except OSError:
        return False


def _warn(folder: Path, reason: str) -> None:
    _log.warning("%s cannot be read: %s", folder, reason)


def find_pictures(
    folder: Path,
    *,
    also: Collection[str] = (),
    unreadable: Callable[[Path, str], None] = _warn,
) -> Iterator[Path]:
    """The pictures in a folder and in those below it, in the order of their names.

    Hidden files and folders (a dot first) are passed over, and so are links to folders: they may
    form a circle.

    Args:
        folder: where to look.
        also: endings of other files that are given too, in small letters.
        unreadable: called with a folder that cannot be listed, and the reason.

    Yields:
        Paths that begin with ``folder``.

    Raises:
        DataError: there is no such folder.
    """
    if not folder.is_dir():
        what = "is not a folder" if os.path.lexists(folder) else "no such folder"
        raise DataError(f"{folder}: {what}", hint="name a folder with pictures in it")

    def failed(error: OSError) -> None:
        unreadable(Path(error.filename), error.strerror or str(error))

    for place, folders, files in os.walk(folder, onerror=failed):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(place, name)
            wanted = path.suffix.lower() in also or is_picture_file(path)
            if not name.startswith(".") and wanted:
                yield path
