"""A folder of any pictures as a data set, with the classes that a user names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.contracts.dataset import Dataset, Record
from engine.core.foreign import clean_name
from engine.data.pictures import open_image
from engine.data.pictures.files import find_pictures
from engine.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image


class PictureFolder(Dataset):
    """Every picture in a folder and in those below it, in the order of their names.

    A picture's id is its path below the folder, with its ending and with ``/`` on every system.

    Args:
        folder: the folder.
        classes: names of classes; may be empty.

    Raises:
        DataError: there is no such folder, or no picture in it.
    """

    def __init__(self, folder: Path, classes: Sequence[str] = ()) -> None:
        self.folder, self.classes = folder, tuple(classes)
        self.name = clean_name(folder.resolve().name)
        self.paths = list(find_pictures(folder))
        if not self.paths:
            raise DataError(
                f"{folder} has no picture",
                hint="pictures are JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF files",
            )

    def __len__(self) -> int:
        return len(self.paths)

    def record(self, index: int) -> Record:
        """The picture's path below the folder is its id; there is no text and no class."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return Record(clean_name(self.paths[index].relative_to(self.folder).as_posix()))

    def image(self, index: int) -> Image:
        """The picture in RGB; raises BrokenImageError where it does not decode."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return open_image(self.paths[index])
