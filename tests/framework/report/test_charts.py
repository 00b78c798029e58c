"""Charts: what they draw, what hostile names and odd numbers do to them, and the files of them."""

from __future__ import annotations

import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import DataError
from engine.report.chart import Chart
from engine.report.charts import (
    Border,
    Dots,
    Level,
    Series,
    bar_chart,
    line_chart,
    scatter_chart,
)
from engine.report.colours import LIGHT
from engine.report.shell import stylesheet

HOSTILE = "</svg><script>alert(1)</script> $x^$ \u202e\x00 & \"'"
POINTS = [(0, 3.0), (100, 2.0), (200, 1.5)]


def svg_of(chart: Chart) -> ElementTree.Element:
    """The inline SVG; it is well formed."""
    found = re.search(r"<svg.*</svg>", str(chart), re.DOTALL)
    assert found
    return ElementTree.fromstring(found[0])


def words_of(chart: Chart) -> list[str]:
    return ["".join(each.itertext()) for each in svg_of(chart).iter("text")]


def charts_with(name: str) -> list[Chart]:
    """A chart of each sort that shows a name wherever it can."""
    return [
        line_chart(
            [Series(name, POINTS), Series(name, POINTS, dashed=True)], label=name, x=name, y=name,
            levels=[Level(1, name)], borders=[Border(0, name), Border(150, name)],
        ),
        bar_chart([(name, 1), (name, 2)], label=name, x=name, y=name),
        scatter_chart(
            [Dots(name, [(1, 2), (3, 4)], titles=[name, name], labels=[name, name], kind="k1",
                   colour="red")],
            label=name, x=name, y=name,
        ),
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(3))
def test_names_stay_text(number: int) -> None:
    chart = charts_with(HOSTILE)[number]
    shown = str(chart)
    assert "<script" not in shown
    assert "\u202e" not in shown
    assert "\x00" not in shown
    assert shown.count("</svg>") == 1
    svg_of(chart)


@settings(deadline=None, max_examples=8)
@given(st.text(max_size=30))
def test_any_text_can_be_a_name(name: str) -> None:
    for chart in charts_with(name):
        svg_of(chart)


def test_axes_legend_and_borders_are_named() -> None:
    chart = line_chart(
        [Series("train", POINTS), Series("chance", [(0, 1), (200, 1)], dashed=True)],
        label="what it shows", x="step", y="loss in nats", levels=[Level(2.5, "ln 12")],
        borders=[Border(0, "first"), Border(120, "second")],
    )  # fmt: skip
    words = words_of(chart)
    for word in ("step", "loss in nats", "first", "second"):
        assert word in words
    assert not {"train", "chance", "ln 12"} & set(words)  # they stand in the legend, below
    legend = str(chart).partition("</svg>")[2]
    assert re.findall(r"<bdi>(.*?)</bdi>", legend) == ["train", "chance", "ln 12"]
    assert svg_of(chart).get("aria-label") == "what it shows"


def test_a_single_line_needs_no_legend() -> None:
    assert "legend" not in str(line_chart([Series("loss", POINTS)], label="loss"))


def test_shares_are_drawn_from_0_to_100_percent() -> None:
    chart = line_chart([Series("", [(0, 12.0), (9, 14.0)])], label="accuracy", scale="%")
    words = words_of(chart)
    assert "0%" in words
    assert "100%" in words


@pytest.mark.parametrize("scale", ["", "%", "log"])
@pytest.mark.parametrize(
    "values", [[math.nan], [math.inf, 1.0], [0.0, 0.0], [-1.0, 5.0], [1e300, 1e-300], [5.0], []]
)
def test_odd_numbers(scale: str, values: list[float]) -> None:
    svg = str(line_chart([Series("", list(enumerate(values)))], label="odd", scale=scale))
    assert "nan" not in svg.lower().replace("tenancy", "")
    assert "inf" not in svg.lower()


def test_bars_and_dots_say_what_they_are() -> None:
    bars = bar_chart([(str(i), i / 100) for i in range(30)], label="bars", shares=True)
    titles = [each.text for each in svg_of(bars).iter("title")]
    assert titles[:2] == ["0: 0%", "1: 1.0%"]
    assert len(titles) == 30
    dots = scatter_chart([Dots("", POINTS, titles=["a", "b", "c"], kind="k7", colour="teal")],
                         label="dots")  # fmt: skip
    root = svg_of(dots)
    assert [each.text for each in root.iter("title")] == ["a", "b", "c"]
    group = next(each for each in root.iter("g") if each.get("class") == "k7")
    assert group.get("style") == "--own: teal; fill: var(--own)"


def test_colours_are_those_of_the_page() -> None:
    shown = "".join(map(str, charts_with("a")))
    assert not re.findall(r"(?:fill|stroke): #", shown)
    sheet = stylesheet().partition("@media")[0]
    for name, colour in LIGHT.items():
        assert f"--{name}: {colour};" in sheet


def test_two_charts_on_a_page_share_no_id() -> None:
    ids = [
        set(re.findall(r'id="([^"]+)"', str(chart)))
        for chart in (bar_chart([("a", 1)], label="one"), bar_chart([("a", 1)], label="two"))
    ]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_labels_cover_neither_each_other_nor_a_dot() -> None:
    points = [(i % 4, (i * 7) % 5) for i in range(12)]
    chart = scatter_chart(
        [Dots("", points, labels=[f"an entry's name {i}" for i in range(12)])], label="labels"
    )
    places = [
        re.search(r"translate\(([-\d.]+) ([-\d.]+)\)", text.get("transform", ""))
        for text in svg_of(chart).iter("text")
        if (text.text or "").startswith("an entry")
    ]
    assert len(places) >= 6
    boxes = [(float(m[1]), float(m[2])) for m in places if m]
    for i, (x, y) in enumerate(boxes):
        for a, b in boxes[i + 1 :]:
            assert abs(x - a) > 60 or abs(y - b) > 9


def test_the_same_chart_has_the_same_bytes() -> None:
    assert [str(chart) for chart in charts_with("a")] == [str(chart) for chart in charts_with("a")]


@pytest.mark.parametrize(
    ("name", "begin"), [("a.svg", b"<?xml"), ("a.pdf", b"%PDF"), ("a.PNG", b"\x89PNG")]
)
def test_files(tmp_path: Path, name: str, begin: bytes) -> None:
    chart = charts_with("кот")[0]
    chart.save(tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(begin)
    if name == "a.svg":
        assert "кот" in (tmp_path / name).read_text(encoding="utf-8")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="svg, pdf or png"):
        charts_with("a")[0].save(tmp_path / "a.docx")
    assert not list(tmp_path.iterdir())
