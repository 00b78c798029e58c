"""Searching: the nearest pictures, by text and picture, filtered, and beside a writer."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.errors import DataError
from engine.evaluate.predictor import Predictor
from engine.search import nearest
from engine.search.building import IndexReport
from engine.search.filters import Filter, make_filter
from engine.search.index import SearchIndex, name_of
from engine.search.query import query_vector

Indexed = Callable[..., IndexReport]


@pytest.fixture
def index(indexed: Indexed, photos: Path, tmp_path: Path) -> SearchIndex:
    indexed(photos)
    return SearchIndex(tmp_path / "index")


def test_texts_and_pictures_find_pictures(
    index: SearchIndex, predictor: Predictor, photos: Path
) -> None:
    for name in ("синий", "красный", "голубой"):
        hits = index.search(query_vector(predictor, [name]), 8)
        assert hits[0].path.stem == name
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    (red,) = index.search(query_vector(predictor, images=[photos / "красный.png"]), 1)
    assert red.score == pytest.approx(1, abs=1e-3)
    # yellow is red and green; less the red, what is red is far
    hits = index.search(query_vector(predictor, ["жёлтый"], minus=["красный"]), 8)
    assert {hit.path.stem for hit in hits[:2]} <= {"зелёный", "белый", "жёлтый", "голубой"}
    assert all(hit.score < 0 for hit in hits if hit.path.stem == "красный")
    both = query_vector(predictor, ["синий"], images=[photos / "лето" / "зелёный.png"])
    assert index.search(both, 1)[0].path.stem == "голубой"


def test_scores_are_numpys(index: SearchIndex, predictor: Predictor) -> None:
    query = query_vector(predictor, ["жёлтый"])
    numbers, rows = next(index.vectors())
    expected = dict(zip(numbers.tolist(), (rows @ query).tolist(), strict=True))
    hits = index.search(query, 100)
    assert {hit.vector: pytest.approx(hit.score, abs=1e-6) for hit in hits} == expected
    np.testing.assert_allclose(
        [hit.score for hit in hits], sorted(expected.values(), reverse=True), atol=1e-6
    )
    assert [hit.vector for hit in index.search(query, 3)] == [hit.vector for hit in hits[:3]]


def test_names_in_any_encoding(index: SearchIndex) -> None:
    hits = index.search(np.array([1, -0.5, -0.5]), 8)
    (odd,) = [hit for hit in hits if b"\xf0\xe5\xe4" in os.fsencode(hit.path)]
    assert odd.path.is_file()
    odd.name.encode()
    assert "\\udcf0" in odd.name
    assert odd.to_json()["path"] == odd.name


def test_filters(indexed: Indexed, photos: Path, tmp_path: Path) -> None:
    for number, path in enumerate(sorted(photos.rglob("*.png"))):
        os.utime(path, (1e9 + 86_400 * number, 1e9 + 86_400 * number))
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "1999:12:31 23:00:00"
    Image.new("RGB", (9, 9), "red").save(photos / "old.jpg", exif=exif)
    (tmp_path / "фото2").mkdir()
    Image.new("RGB", (9, 9), "gold").save(tmp_path / "фото2" / "x.png")
    indexed(photos, tmp_path / "фото2")
    with SearchIndex(tmp_path / "index") as index:
        query = np.array([1.0, 0.2, 0.1])

        def names(**what: object) -> set[str]:
            only = make_filter(what.get("folder"), what.get("after"), what.get("before"))  # type: ignore[arg-type]
            return {hit.path.name for hit in index.search(query, 100, only=only)}

        assert names(folder=photos / "лето") == {p.name for p in (photos / "лето").iterdir()}
        assert names(folder=photos / "old.jpg") == {"old.jpg"}
        assert "x.png" not in names(folder=photos)  # фото2 only begins like it
        assert names(folder=tmp_path / "none") == set()
        assert names(before="2000") == {"old.jpg"}
        assert names(after="1999-12-31T22:00", before="2000-01-01") == {"old.jpg"}
        days = Filter(after=1e9 + 86_400 * 2, before=1e9 + 86_400 * 5)
        middle = {hit.path.name for hit in index.search(query, 100, only=days)}
        assert len(middle) == 3
    for wrong in ("yesterday", "2024-13-01", "99999"):
        with pytest.raises(DataError, match="is not a day or a time"):
            make_filter(None, wrong, None)


def test_copies_are_one_hit(indexed: Indexed, photos: Path, tmp_path: Path) -> None:
    (photos / "лето" / "копия.png").write_bytes((photos / "красный.png").read_bytes())
    indexed(photos)
    with SearchIndex(tmp_path / "index") as index:
        query = np.array([1.0, -1.0, -1.0])
        (hit,) = index.search(query, 1)
        assert [entry.path.name for entry in hit.places] == ["красный.png", "копия.png"]
        assert hit.to_json()["copies"] == [name_of(hit.places[1])]
        (hit,) = index.search(query, 1, only=Filter(photos / "лето"))
        assert [entry.path.name for entry in hit.places] == ["копия.png"]


@pytest.mark.parametrize("exact", [100_000, 4], ids=["exact", "inverted"])
def test_a_reader_follows_a_writer(
    indexed: Indexed, photos: Path, tmp_path: Path, exact: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "EXACT", exact)
    indexed(photos)
    index = SearchIndex(tmp_path / "index")
    assert index.recall >= 0.97
    assert bool(list((tmp_path / "index").glob("*.faiss"))) == (exact == 4)
    assert not index.refresh()
    query = np.array([1.0, -1.0, -1.0])
    assert index.search(query, 1)[0].path.name == "красный.png"
    (photos / "красный.png").unlink()
    Image.new("RGB", (9, 9), (250, 10, 5)).save(photos / "новый.png")
    indexed(photos)
    assert all(hit.path.name != "красный.png" for hit in index.search(query, 9))
    assert index.refresh()
    assert index.search(query, 1)[0].path.name == "новый.png"
    again = SearchIndex(tmp_path / "index")
    assert [h.vector for h in again.search(query, 9)] == [h.vector for h in index.search(query, 9)]
    assert len(again.search(query, 3, only=Filter(photos / "лето"))) == 3


@pytest.mark.parametrize(
    ("vector", "words"),
    [([0, 0, 0], "zero"), ([np.nan, 0, 1], "not finite"), ([1, 2], "has 2 numbers")],
)
def test_queries_that_mean_nothing(index: SearchIndex, vector: list[float], words: str) -> None:
    with pytest.raises(DataError, match=words):
        index.search(np.array(vector))
    with pytest.raises(DataError, match="top=0"):
        index.search(np.ones(3), 0)


def test_what_is_not_an_index(tmp_path: Path, index: SearchIndex) -> None:
    with pytest.raises(DataError, match="is not an index"):
        SearchIndex(tmp_path)
    assert "8 pictures, model colours" in repr(index)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "pictures.sqlite").write_bytes(b"x" * 5000)
    with pytest.raises(DataError, match="cannot be read as an index"):
        SearchIndex(tmp_path / "bad")


def test_query_mistakes(predictor: Predictor) -> None:
    with pytest.raises(DataError, match="nothing to search for"):
        query_vector(predictor, minus=["красный"])
    with pytest.raises(DataError, match="is empty"):
        query_vector(predictor, [" "])
    with pytest.raises(DataError, match="cancel each other out"):
        query_vector(predictor, ["красный"], minus=["красный"])
