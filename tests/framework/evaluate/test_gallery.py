"""The page: whole, safe, sampled fairly."""

from __future__ import annotations

import base64
import io
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.contracts import Dataset, Record
from engine.core.files import check_target, write_text
from engine.errors import DataError
from engine.evaluate.gallery import (
    Card,
    Header,
    Section,
    _spread,
    header_of,
    section_of,
    write_gallery,
)
from engine.evaluate.predictor import Predictor
from engine.evaluate.runner import EvaluatedRow, run, score_runs

VOID = {"meta", "img", "input", "br"}
EVIL = "<script>alert('\"&</script>"


class Reader(HTMLParser):
    """Holds the page to balanced tags; keeps every tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def page(
    predictor: Predictor,
    pictures: Callable[..., Dataset],
    colours: dict[str, Image.Image],
    tmp_path: Path,
) -> str:
    """The colour model's answers to seven pictures, the last one labelled wrongly."""
    rows = [(f"id {i}", image, min(i, 5)) for i, image in enumerate(colours.values())]
    result = run(predictor, pictures(EVIL, list(colours), rows))
    path = tmp_path / "page.html"
    write_gallery(path, header_of(predictor), [section_of(result)], score_runs([result]))
    return path.read_text(encoding="utf-8")


def test_the_page_says_what_the_model_said(page: str, colours: dict[str, Image.Image]) -> None:
    tags = Reader(page).tags
    figures = [attributes["class"] for tag, attributes in tags if tag == "figure"]
    assert figures == ["answered right"] * 6 + ["answered wrong"]
    assert "✗ right is <bdi>чёрный</bdi>" in page
    assert f"chance {100 / len(colours):.1f} %" in page
    assert "85.7<small>%" in page
    for name in colours:
        assert name in page
    assert "RANDOM weights" in page
    assert "no image" in page  # the last class, in the list of recalls
    widths = [float(w) for w in re.findall(r"width:([\d.]+)%", page)]
    assert widths
    assert all(0 <= width <= 100 for width in widths)


def test_the_page_needs_nothing_else(page: str) -> None:
    assert "http://" not in page
    assert "https://" not in page
    for tag, attributes in Reader(page).tags:
        assert tag not in ("script", "link", "iframe", "object")
        for name in ("src", "href"):
            value = attributes.get(name)
            assert value is None or value.startswith("data:image/jpeg;base64,")
    assert "@import" not in page
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_thumbnails_are_small_pictures(page: str) -> None:
    found = re.findall(r"base64,([A-Za-z0-9+/=]+)", page)
    assert len(found) == 7
    for text in found:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True))) as image:
            image.load()
            assert max(image.size) <= 400


def test_everything_from_outside_is_escaped(tmp_path: Path) -> None:
    image = Image.new("L", (900, 20), 9)
    cards = [Card(EVIL, image, [(EVIL, 1.0), ("b", 0.0)], EVIL + "x")]
    sections = [Section(EVIL, cards, 1, [(EVIL, None)])]
    write_gallery(tmp_path / "p.html", Header(EVIL, [(EVIL, EVIL)], [EVIL]), sections)
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert all(tag != "script" for tag, _ in Reader(text).tags)


def test_without_truth_nothing_is_judged(
    predictor: Predictor,
    pictures: Callable[..., Dataset],
    colours: dict[str, Image.Image],
    tmp_path: Path,
) -> None:
    rows = [(name, image, None) for name, image in colours.items()]
    result = run(predictor, pictures("d", list(colours), rows))
    write_gallery(tmp_path / "p.html", header_of(predictor), [section_of(result, pictures=3)])
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert 'class="verdict"' not in text
    assert "<table" not in text
    assert 'type="radio"' not in text
    assert text.count("<figure") == 3
    assert "3 of 7 images" in text


def test_a_file_taken_away_meanwhile(
    predictor: Predictor, pictures: Callable[..., Dataset], colours: dict[str, Image.Image]
) -> None:
    rows = [(name, image, None) for name, image in colours.items()]
    data = pictures("d", list(colours), rows)
    result = run(predictor, data)
    rows[0] = (rows[0][0], "gone", None)
    assert len(section_of(result).cards) == 6


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), max_size=60), st.integers(1, 30))
def test_pictures_are_spread_over_the_classes(labels: list[int], count: int) -> None:
    rows = [EvaluatedRow(i, Record(str(i)), (label,), (1.0,)) for i, label in enumerate(labels)]
    chosen = _spread(rows, {}, count)
    assert len(chosen) == min(count, len(rows))
    assert len({row.index for row in chosen}) == len(chosen)
    assert [row.classes for row in chosen] == sorted(row.classes for row in chosen)
    have, got = Counter(labels), Counter(row.classes[0] for row in chosen)
    for one in have:
        for other in have:  # nobody gets two more than another who has some left
            assert got[one] <= got[other] + 1 or got[other] == have[other]


def test_an_interrupted_write_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.json"
    write_text(path, "old")

    def full(handle: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_written_files_are_readable_by_others(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("x")
    write_text(tmp_path / "deep" / "p.json", "x")
    assert (tmp_path / "deep" / "p.json").stat().st_mode == plain.stat().st_mode


def test_targets_are_checked_before_the_work(tmp_path: Path) -> None:
    check_target(tmp_path / "new" / "p.json")
    assert not (tmp_path / "new").exists()
    with pytest.raises(DataError, match="is a folder"):
        check_target(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="is not a folder"):
        check_target(tmp_path / "file" / "p.json")
