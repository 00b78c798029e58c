"""Data sets whose names UTF-8 can hold, whatever their plugin gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from PIL.Image import Image

from engine.contracts.dataset import Dataset, Record
from engine.core.foreign import clean_name


def encodable(dataset: Dataset, rows: int) -> tuple[Dataset, list[str]]:
    """The data set with its name, class names and ids as :func:`clean_name` gives them.

    Args:
        dataset: with any names.
        rows: only the first so many are looked at.

    Returns:
        The data set itself where nothing had to be changed; and notes of what was, in words.
    """
    classes = [name for name in dataset.classes if clean_name(name) != name]
    ids = [
        record.id
        for record in (dataset.record(index) for index in range(rows))
        if clean_name(record.id) != record.id
    ]
    if not classes and not ids and clean_name(dataset.name) == dataset.name:
        return dataset, []
    notes = [
        f"{len(found):,} {what} that UTF-8 cannot hold are written with escapes, the first as"
        f" `{clean_name(found[0])}`"
        for what, found in (("class names", classes), ("names of images", ids))
        if found
    ]
    return _Encodable(dataset), notes


class _Encodable(Dataset):
    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.name = clean_name(dataset.name)
        self.classes = tuple(map(clean_name, dataset.classes))

    def __len__(self) -> int:
        return len(self._dataset)

    def record(self, index: int) -> Record:
        record = self._dataset.record(index)
        return replace(record, id=clean_name(record.id))

    def image(self, index: int) -> Image:
        return self._dataset.image(index)

    def texts(self) -> Iterator[str]:
        return self._dataset.texts()
