"""Several training data sets as one: what is learned together is read as one sequence of rows."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, count

from PIL.Image import Image

from engine.contracts import Dataset, Record
from engine_plugins.datasets.settings import ConcatSettings


class Concat(Dataset):
    """The rows of each data set in turn, one set after the other.

    It has no classes: what one set calls class 0 is something else in the next, so labels are
    dropped. A row that has a class and no query is found by its class name, as training takes it.

    An id is ``<data set>/<id>``; where two sets have the same name, the second is ``<name>_2``.

    Attributes:
        parts: the data sets, in order.
    """

    def __init__(self, settings: ConcatSettings) -> None:
        self.settings = settings
        self.parts: tuple[Dataset, ...] = tuple(use.create() for use in settings.of)
        self._names = _different([part.name for part in self.parts])
        self._ends = list(accumulate(len(part) for part in self.parts))
        self.name = "+".join(self._names)

    def __len__(self) -> int:
        return self._ends[-1]

    def record(self, index: int) -> Record:
        """The row at an index: its id, texts and class."""
        number, row = self._place(index)
        part = self.parts[number]
        record = part.record(row)
        queries = record.queries
        if not queries and record.label is not None:
            queries = (part.classes[record.label],)
        return Record(f"{self._names[number]}/{record.id}", queries)

    def image(self, index: int) -> Image:
        """The picture of a row."""
        number, row = self._place(index)
        return self.parts[number].image(row)

    def image_for(self, index: int, side: int) -> Image:
        """The picture of a row, of which a square of ``side`` pixels will be cut."""
        number, row = self._place(index)
        return self.parts[number].image_for(row, side)

    def _place(self, index: int) -> tuple[int, int]:
        """The part that row ``index`` is of, and its row there."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = bisect_right(self._ends, index)
        return number, index - (self._ends[number - 1] if number else 0)


def _different(names: list[str]) -> list[str]:
    """Each name once: a second ``shapes`` becomes ``shapes_2``, or the next that is free."""
    found: list[str] = []
    for name in names:
        numbered = (f"{name}_{number}" for number in count(2))
        free = (own for own in numbered if own not in found and own not in names)
        found.append(name if name not in found else next(free))
    return found
