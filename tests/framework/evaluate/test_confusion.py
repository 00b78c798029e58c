"""Which class got which answer."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from engine.evaluate.confusion import WORST, confusion_of

PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=60)
NAMES = [f"class {i}" for i in range(7)]


@given(PAIRS)
def test_every_answer_is_counted(pairs: list[tuple[int, int]]) -> None:
    found = confusion_of(NAMES, pairs)
    counts = Counter(pairs)
    assert [[count for count, _ in row] for row in found.table] == [
        [counts[label, answer] for answer in range(7)] for label in range(7)
    ]
    assert all(0 <= depth <= 100 for row in found.table for _, depth in row)
    assert found.answered == len(pairs)
    assert found.mistakes == sum(a != b for a, b in pairs)
    assert len(found.worst) <= WORST
    listed = [count for _, _, count, _ in found.worst]
    assert listed == sorted(listed, reverse=True)
    for label, answer, count, images in found.worst:
        place = NAMES.index(label)
        assert count == counts[place, NAMES.index(answer)]
        assert images == sum(a == place for a, _ in pairs)


@given(PAIRS, st.integers(1, 6))
def test_of_many_classes_those_with_mistakes_are_shown(
    pairs: list[tuple[int, int]], most: int
) -> None:
    found = confusion_of(NAMES, pairs, most)
    assert len(found.names) == len(found.table) == most
    assert found.left_out == 7 - most
    wrong = Counter(each for a, b in pairs if a != b for each in (a, b))
    least = min(wrong[NAMES.index(name)] for name in found.names)
    assert all(wrong[i] <= least for i, name in enumerate(NAMES) if name not in found.names)
