"""The figures of a paper: what is drawn follows from the leaderboard, in SVG and in PDF."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from engine.bench.figures import figures, write_figures


def words(path: Path) -> list[str]:
    """The texts of a drawing."""
    tree = ElementTree.parse(path)
    return ["".join(each.itertext()) for each in tree.iter("{http://www.w3.org/2000/svg}text")]


def test_every_figure_is_written_in_both_forms(contest: Any, tmp_path: Path) -> None:
    written = write_figures(tmp_path / "figures", contest.leaderboard, contest.answers)
    names = {path.name for path in written}
    stems = ("bytes", "time", "pairs", "confusion-shapes", "confusion-digits", "confusion-caltech")
    assert names == {f"{stem}.{form}" for stem in stems for form in ("svg", "pdf")}
    assert names == {path.name for path in (tmp_path / "figures").iterdir()}
    for path in written:
        if path.suffix == ".pdf":
            assert path.read_bytes().startswith(b"%PDF")
    shown = words(tmp_path / "figures" / "bytes.svg")
    models = [row for row in contest.leaderboard.rows if row.accuracy and row.model_size]
    for row in models:
        assert row.entry in shown
    assert [each for each in shown if each.startswith("chance, ")]
    assert "weights, MB" in shown
    pairs = words(tmp_path / "figures" / "pairs.svg")
    for each in contest.leaderboard.comparisons[:3]:
        assert f"{each.a} - {each.b}" in pairs
    assert "цифра 3" in words(tmp_path / "figures" / "confusion-digits.svg")


def test_the_same_board_gives_the_same_bytes(contest: Any, tmp_path: Path) -> None:
    for name in ("one", "two"):
        figures(contest.leaderboard, contest.answers)["bytes"].save(tmp_path / f"{name}.svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_a_board_without_numbers_has_no_figures(
    make_fake: Callable[..., Any], entry: Callable[..., Any], tmp_path: Path
) -> None:
    fake = make_fake([entry("only", 0, fails="DataError: no such folder")], {}, 1)
    assert write_figures(tmp_path / "none", fake.leaderboard, fake.answers) == []


@pytest.mark.parametrize("name", ["../up", "a/b", "<svg onload=x>", "$\\frac{1}{0}$"])
def test_hostile_names_stay_in_the_folder(
    make_fake: Callable[..., Any], entry: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    fake = make_fake([entry("one", 0.5, 30.0)], {name: (name, "b", "c")}, 40)
    written = write_figures(tmp_path / "figures", fake.leaderboard, fake.answers)
    assert {path.parent for path in written} == {tmp_path / "figures"}
    assert all(re.fullmatch(r"[\w.-]+", path.name) for path in written)
    (drawn,) = [path for path in written if path.name.startswith("confusion") and
                path.suffix == ".svg"]  # fmt: skip
    assert name in words(drawn)
