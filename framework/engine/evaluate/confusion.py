"""Which class got which answer, in a form that a page can show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MOST = 120
"""Classes of a table; where there are more, those with the most mistakes are shown."""

WORST = 20
"""Pairs of classes in the list of the most frequent mistakes."""


@dataclass(frozen=True)
class Confusion:
    """Counts of right classes and answers.

    Attributes:
        names: of the classes in the table.
        left_out: classes that the table has no room for.
        table: for each class in ``names`` a row of cells: how many of its images got that answer,
            and how deep the cell's colour is (0 to 100).
        worst: the most frequent mistakes: right class, answer, images, images of that class.
        mistakes: how many answers are wrong.
        answered: how many answers there are.
    """

    names: Sequence[str]
    left_out: int
    table: Sequence[Sequence[tuple[int, float]]]
    worst: Sequence[tuple[str, str, int, int]]
    mistakes: int
    answered: int


def confusion_of(
    names: Sequence[str], answered: Iterable[tuple[int, int]], most: int = MOST
) -> Confusion:
    """Count answers.

    Args:
        names: of all classes.
        answered: the right class and the answer of each image.
        most: classes of the table at most.
    """
    pairs = Counter(answered)
    images: Counter[int] = Counter()
    mistakes: Counter[int] = Counter()
    for (label, answer), count in pairs.items():
        images[label] += count
        if label != answer:
            mistakes[label] += count
            mistakes[answer] += count
    shown = list(range(len(names)))
    if len(names) > most:
        shown = sorted(sorted(shown, key=lambda each: -mistakes[each])[:most])
    wrong = [(count, pair) for pair, count in pairs.items() if pair[0] != pair[1]]
    return Confusion(
        names=[names[each] for each in shown],
        left_out=len(names) - len(shown),
        table=[
            # by the root of the share, so that single mistakes can be seen
            [
                (pairs[label, answer], 100 * (pairs[label, answer] / max(1, images[label])) ** 0.5)
                for answer in shown
            ]
            for label in shown
        ],
        worst=[
            (names[label], names[answer], count, images[label])
            for count, (label, answer) in sorted(wrong, key=lambda each: (-each[0], each[1]))[
                :WORST
            ]
        ],
        mistakes=sum(count for count, _ in wrong),
        answered=pairs.total(),
    )
