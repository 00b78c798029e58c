"""Names of clusters."""

from __future__ import annotations

import numpy as np
import pytest

from engine.clusters.names import TERMS, name_of, telling_terms

TEXTS = (
    ["фото рыжей лисы", "лисы в лесу", "лисы бегут", "серая лисы"] * 10
    + ["фото пирога", "сладкий пирог с мёдом", "пирог с мёдом", "горячий пирог"] * 10
)  # fmt: skip
LABELS = np.repeat([0, 1], 40).astype(np.int64)


def test_terms_tell_clusters_apart() -> None:
    foxes, pies = telling_terms(TEXTS, LABELS, 2, 3)
    assert foxes[0] == "лисы"
    assert pies[0] in ("мёдом", "пирог", "пирог мёдом")
    for terms in (foxes, pies):
        assert 1 <= len(terms) <= TERMS
        assert "фото" not in terms  # as frequent in both
        assert not {"с", "в"} & set(terms)  # single letters
        for one in terms:  # none lengthens or shortens another
            assert not any(f" {one} " in f" {other} " for other in terms if other != one)


def test_the_rest_is_named_by_its_most_typical_text() -> None:
    same = ["слово"] * 20
    terms = telling_terms(same, np.repeat([0, 1], 10).astype(np.int64), 2, 3)
    assert terms == [[], []]
    assert name_of([], ["слово"]) == "слово"
    assert name_of(["а", "б", "в", "г"], ["слово"]) == "а, б, в"
    assert name_of([], []) == ""


@pytest.mark.parametrize(
    ("terms", "name"),
    [
        (["кошка", "кошки", "кошек", "мяу"], "кошка, мяу"),
        (["cat", "cats", "dog", "dogs", "bird"], "cat, dog, bird"),
        (["красная роза", "красные розы", "роза", "букет"], "красная роза, букет"),
        (["кот", "код", "кит"], "кот, код, кит"),
        (["дом", "домашний питомец"], "дом, домашний питомец"),
        (["Haus", "Hauses", "Häuser"], "Haus, Häuser"),
    ],
)
def test_a_name_does_not_repeat_inflections(terms: list[str], name: str) -> None:
    assert name_of(terms, []) == name


def test_numbers_and_single_letters_where_there_is_nothing_else() -> None:
    first, second = telling_terms(["1 2"] * 9 + ["x y"] * 9, np.repeat([0, 1], 9), 2, 2)
    assert first[0] in ("1", "2", "1 2")
    assert second[0] in ("x", "y", "x y")
