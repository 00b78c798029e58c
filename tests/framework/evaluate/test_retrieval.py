"""Recall against a plain sort of every score, by properties, and at the edges."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.errors import DataError
from engine.evaluate import retrieval as module
from engine.evaluate.retrieval import retrieval
from engine_plugins.metrics.retrieval import recall_at

unhurried = settings(deadline=None)  # machines are shared: a slow run is not a fault
Vectors = NDArray[np.float32]
Case = tuple[Vectors, Vectors, list[list[int]]]


@dataclass(frozen=True)
class Recalls:
    """Recall by k, of those k that say something."""

    image_to_text: dict[int, float]
    text_to_image: dict[int, float]
    images: int
    texts: int


def recalls(
    images: Vectors, texts: Vectors, owners: list[list[int]], ks: tuple[int, ...] = (1, 5, 10)
) -> Recalls:
    found = retrieval(images, texts, owners)
    assert (found.images, found.texts) == (len(images), len(texts))
    ways = ((found.image_to_text, len(texts)), (found.text_to_image, len(images)))
    shares = [
        {k: share for k in ks if (share := recall_at(ranks, count, k)) is not None}
        for ranks, count in ways
    ]
    return Recalls(*shares, len(found.image_to_text), len(found.text_to_image))


def vectors(rng: np.random.Generator, rows: int, width: int = 16) -> Vectors:
    return rng.normal(size=(rows, width)).astype(np.float32)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    images, texts = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    owner = st.lists(st.integers(0, images - 1), max_size=3)
    owners = draw(st.lists(owner, min_size=texts, max_size=texts).filter(any))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return vectors(rng, images), vectors(rng, texts), owners


def plainly(
    images: Vectors, texts: Vectors, owners: list[list[int]], k: int
) -> tuple[float, float]:
    """CLIP_benchmark's definition: of queries with an own, those with any of it among the top k."""
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (images, texts)]
    scores = unit[1].astype(np.float64) @ unit[0].T.astype(np.float64)
    own = np.zeros(scores.shape, np.bool_)
    for text, of in enumerate(owners):
        own[text, of] = True
    recalls = []
    for table, mine in ((scores.T, own.T), (scores, own)):
        nearest = np.argsort(-table, axis=1)[:, :k]
        hit = np.take_along_axis(mine, nearest, 1).any(axis=1)
        recalls.append(100 * float(hit[mine.any(axis=1)].mean()))
    return recalls[0], recalls[1]


@unhurried
@given(cases(), st.integers(1, 60))
def test_equals_a_plain_sort_in_blocks_of_any_size(case: Case, block: int) -> None:
    images, texts, owners = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        found = recalls(images, texts, owners, ks=(1, 2, 5))
    assert found.texts == sum(map(bool, owners))
    assert found.images == len({image for of in owners for image in of})
    assert list(found.image_to_text) == [k for k in (1, 2, 5) if k < len(texts)]
    assert list(found.text_to_image) == [k for k in (1, 2, 5) if k < len(images)]
    for k in (1, 2, 5):
        to_text, to_image = plainly(images, texts, owners, k)
        assert found.image_to_text.get(k, to_text) == pytest.approx(to_text)
        assert found.text_to_image.get(k, to_image) == pytest.approx(to_image)


@unhurried
@given(cases(), st.integers(0, 99))
def test_order_and_length_of_vectors_do_not_matter(case: Case, seed: int) -> None:
    images, texts, owners = case
    rng = np.random.default_rng(seed)
    turn, mix = rng.permutation(len(images)), rng.permutation(len(texts))
    place = np.argsort(turn)
    longer = images[turn] * rng.uniform(0.5, 20, (len(images), 1)).astype(np.float32)
    moved = [[int(place[image]) for image in owners[text]] for text in mix]
    assert recalls(longer, texts[mix], moved) == recalls(images, texts, owners)


def test_by_hand_with_several_texts_an_image_and_a_text_of_several() -> None:
    images = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    texts = np.array([[1, 0.1], [0.1, 1], [-1, 0.3], [-1, 0.1]], np.float32)
    # Text 0 is about both 0 and 1; text 1 is put wrongly to image 0; text 3 belongs to nothing.
    found = recalls(images, texts, [[0, 1], [0], [2], []], ks=(1, 2, 3, 4))
    assert (found.images, found.texts) == (3, 3)
    # Image 0 finds 0. Image 1 finds 1, 2, 3, 0: its own is last. Image 2 finds 3, no one's.
    assert found.image_to_text == pytest.approx({1: 100 / 3, 2: 200 / 3, 3: 200 / 3})
    # Text 0 finds 0; text 1 finds 1, then its own; text 2 its own.
    assert found.text_to_image == pytest.approx({1: 200 / 3, 2: 100})


def test_the_right_answer_everywhere() -> None:
    same = vectors(np.random.default_rng(0), 30)
    every = dict.fromkeys((1, 5, 10), 100.0)
    assert recalls(same, same, [[i] for i in range(30)]) == Recalls(every, every, 30, 30)


@pytest.mark.parametrize("noise", [0, 3e-8])
def test_a_model_that_tells_nothing_apart_finds_nothing(noise: float) -> None:
    # Also where rounding makes equal scores unequal.
    rng = np.random.default_rng(0)
    one = np.tile(vectors(rng, 1, 512), (40, 1)) * (1 + noise * vectors(rng, 40, 512))
    found = recalls(vectors(rng, 40, 512), one, [[i] for i in range(40)])
    assert found.image_to_text == {1: 0, 5: 0, 10: 0}
    collapsed = recalls(one, one, [[i] for i in range(40)])
    assert collapsed.image_to_text == collapsed.text_to_image == {1: 0, 5: 0, 10: 0}
    silent = recalls(np.zeros_like(one), one, [[i] for i in range(40)])
    assert silent.text_to_image == {1: 0, 5: 0, 10: 0}


def test_equal_texts_of_one_image_are_no_rivals() -> None:
    images = np.eye(3, dtype=np.float32)
    found = recalls(images, images[[0, 0, 1, 2]], [[0], [0], [1], [2]], ks=(1, 2))
    assert found.image_to_text == found.text_to_image == {1: 100, 2: 100}


def test_random_vectors_find_by_chance() -> None:
    rng = np.random.default_rng(0)
    found = recalls(vectors(rng, 2000), vectors(rng, 2000), [[i] for i in range(2000)], ks=(200,))
    assert found.image_to_text[200] == pytest.approx(10, abs=2)
    assert found.text_to_image[200] == pytest.approx(10, abs=2)


def test_memory_stays_below_the_table_of_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    images, texts = vectors(rng, 4000, 8), vectors(rng, 4000, 8)
    monkeypatch.setattr(module, "BLOCK", 1 << 18)
    tracemalloc.start()
    retrieval(images, texts, [[i] for i in range(4000)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6  # the table: 64e6


def test_what_cannot_be_measured_is_refused() -> None:
    rng = np.random.default_rng(0)
    images, texts = vectors(rng, 3), vectors(rng, 2)
    with pytest.raises(DataError, match="nothing to retrieve"):
        retrieval(images, texts, [[], []])
    with pytest.raises(DataError, match="text 1 belongs to image 3, which does not exist"):
        retrieval(images, texts, [[0], [1, 3]])
    with pytest.raises(DataError, match="image -1"):
        retrieval(images, texts, [[0], [-1]])
    with pytest.raises(ValueError, match="2 texts"):
        retrieval(images, texts, [[0]])
    with pytest.raises(ValueError, match="do not fit"):
        retrieval(images, texts[:, :3], [[0], [1]])
    texts[1, 4] = np.nan
    with pytest.raises(DataError, match="text 1 is not finite"):
        retrieval(images, texts, [[0], [1]])
