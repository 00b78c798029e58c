"""Photographs that scikit-image and scikit-learn ship, with names in Russian or English.

Licences stand beside the pictures in both packages. The packages are found, not imported.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from PIL.Image import Image

from engine.contracts import Dataset, Record
from engine.data.pictures import open_image
from engine.errors import DataError
from engine_plugins.datasets.settings import SamplePhotosSettings

_SKIMAGE, _SKLEARN = "skimage/data", "sklearn/datasets/images"
# What each picture shows, as people name it: Russian, English.
_PHOTOS: tuple[tuple[str, str, str], ...] = (
    (f"{_SKIMAGE}/chelsea.png", "кошка", "cat"),
    (f"{_SKIMAGE}/coffee.png", "чашка кофе", "cup of coffee"),
    (f"{_SKIMAGE}/rocket.jpg", "ракета", "rocket"),
    (f"{_SKIMAGE}/astronaut.png", "космонавт", "astronaut"),
    (f"{_SKIMAGE}/motorcycle_left.png", "мотоцикл", "motorcycle"),
    (f"{_SKIMAGE}/motorcycle_right.png", "мотоцикл", "motorcycle"),
    (f"{_SKIMAGE}/camera.png", "фотоаппарат", "camera"),
    (f"{_SKIMAGE}/coins.png", "монеты", "coins"),
    (f"{_SKIMAGE}/moon.png", "луна", "moon"),
    (f"{_SKIMAGE}/hubble_deep_field.jpg", "галактика", "galaxy"),
    (f"{_SKIMAGE}/brick.png", "кирпич", "brick"),
    (f"{_SKIMAGE}/grass.png", "трава", "grass"),
    (f"{_SKLEARN}/flower.jpg", "цветок", "flower"),
    (f"{_SKLEARN}/china.jpg", "пагода", "pagoda"),
)
_DISTRACTORS: tuple[tuple[str, str], ...] = (
    ("собака", "dog"), ("лошадь", "horse"), ("птица", "bird"), ("рыба", "fish"),
    ("автомобиль", "car"), ("самолёт", "airplane"), ("поезд", "train"), ("лодка", "boat"),
    ("велосипед", "bicycle"), ("стул", "chair"), ("стол", "table"), ("дерево", "tree"),
    ("гора", "mountain"), ("мост", "bridge"), ("пицца", "pizza"), ("яблоко", "apple"),
    ("книга", "book"), ("гитара", "guitar"), ("мяч", "ball"), ("шляпа", "hat"),
)  # fmt: skip


class SamplePhotos(Dataset):
    """See :class:`SamplePhotosSettings`. Fourteen photographs; a third of the names is shown.

    Raises:
        DataError: scikit-image or scikit-learn is not installed.
    """

    name = "sample_photos"

    def __init__(self, settings: SamplePhotosSettings) -> None:
        self.settings = settings
        column = 1 if settings.language == "ru" else 2
        shown = [photo[column] for photo in _PHOTOS]
        others = [pair[column - 1] for pair in _DISTRACTORS] if settings.distractors else []
        self.classes = tuple(dict.fromkeys((*shown, *others)))
        self._labels = [self.classes.index(name) for name in shown]
        self._paths = [_installed(photo[0]) for photo in _PHOTOS]

    def __len__(self) -> int:
        return len(self._paths)

    def record(self, index: int) -> Record:
        """The row at an index: its id, texts and class."""
        path = self._paths[self._checked(index)]
        return Record(path.stem, (), self._labels[index])

    def image(self, index: int) -> Image:
        """The picture of a row."""
        return open_image(self._paths[self._checked(index)])

    def _checked(self, index: int) -> int:
        if not 0 <= index < len(self._paths):
            raise IndexError(index)
        return index


def _installed(name: str) -> Path:
    package, _, inside = name.partition("/")
    spec = find_spec(package)
    for home in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(home) / inside).is_file():
            return path
    raise DataError(
        f"sample_photos: {name} is not installed",
        hint="`pip install scikit-image scikit-learn`, or the extra `photos`",
    )
