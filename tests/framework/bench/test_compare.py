from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.bench.compare import Side, compare, side_of_predictions
from engine.errors import DataError


def side(name: str, **datasets: str) -> Side:
    """``"+-+"``: right, wrong, right."""
    return Side(
        name,
        {d: {str(i): [c == "+"] for i, c in enumerate(row)} for d, row in datasets.items()},
    )


def test_a_clear_difference_is_real() -> None:
    found = compare(side("a", d="+" * 60), side("b", d="+" * 20 + "-" * 40))
    assert found.real
    assert found.mean.value == pytest.approx(100 - 100 / 3)
    assert found.verdict().startswith("Real: a is 66.67 points ahead of b")
    assert (found.datasets[0].only_a, found.datasets[0].only_b) == (40, 0)


def test_the_one_that_is_behind_may_stand_first() -> None:
    found = compare(side("a", d="+-+-"), side("b", d="+-++"))
    assert not found.real
    assert found.verdict().startswith("A tie: b is 25.00 points ahead of a")


def test_order_of_images_does_not_matter() -> None:
    a, b = side("a", d="++-+-"), side("b", d="-++--")
    turned = Side("b", {"d": dict(reversed(b.right["d"].items()))})
    assert compare(a, b).to_json() == compare(a, turned).to_json()


def test_other_images_are_reported() -> None:
    with pytest.raises(DataError, match="1 images were answered by one side alone"):
        compare(side("a", d="++"), side("b", d="+++"))
    with pytest.raises(DataError, match="same data sets"):
        compare(side("a", d="++"), side("b", e="++"))


def test_files_of_the_contest(tmp_path: Path) -> None:
    truth = {"d": {"x": 0, "y": 1, "z": 1}}
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    (tmp_path / "p.json").write_text(json.dumps({"d": {"x": 0, "y": 0}}))
    found = side_of_predictions(tmp_path / "p.json", tmp_path / "gt.json")
    assert found.right == {"d": {"x": [True], "y": [False], "z": [False]}}
    (tmp_path / "q.json").write_text(json.dumps({"d": {"unknown": 0}}))
    with pytest.raises(DataError, match="not in the truth"):
        side_of_predictions(tmp_path / "q.json", tmp_path / "gt.json")
