"""Runs over data sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from engine.contracts import Dataset
from engine.errors import DataError
from engine.evaluate.predictor import Predictor
from engine.evaluate.runner import run, score_runs

Make = Callable[..., Dataset]
Colours = dict[str, Image.Image]


@pytest.fixture
def rows(colours: Colours) -> list[tuple[str, Any, int | None]]:
    """Each colour once; the last one labelled wrongly, a broken one in between."""
    found: list[tuple[str, Any, int | None]] = [
        (f"id {i}", image, i) for i, image in enumerate(colours.values())
    ]
    found[-1] = (*found[-1][:2], 0)
    found.insert(2, ("hurt", "cut short", 1))
    return found


def test_answers_broken_images_and_scores(
    predictor: Predictor, pictures: Make, colours: Colours, rows: list[Any]
) -> None:
    seen: list[tuple[str, int, int]] = []
    result = run(
        predictor, pictures("d", list(colours), rows), batch_size=3,
        progress=lambda *done: seen.append(done),
    )  # fmt: skip
    assert result.predictions == {f"id {i}": i for i in range(7)}
    assert list(result.predictions) == [f"id {i}" for i in range(7)]
    assert [(b.index, b.id, b.reason) for b in result.broken] == [(2, "hurt", "cut short")]
    assert seen == [("d", 0, 8), ("d", 3, 8), ("d", 6, 8), ("d", 8, 8)]
    score = result.score()
    assert score is not None
    assert (score.images, score.correct, score.missing, score.classes) == (8, 6, 1, 7)
    assert score.metrics["top5"].value >= score.accuracy
    assert score.recall[1] == 50.0
    assert score.recall[6] is None
    assert result.to_json()["broken"] == [{"id": "hurt", "reason": "cut short"}]


def test_answers_from_a_file_of_truth(
    predictor: Predictor, pictures: Make, colours: Colours, rows: list[Any]
) -> None:
    unlabelled = [(name, image, None) for name, image, _ in rows]
    result = run(predictor, pictures("d", list(colours), unlabelled))
    assert result.score() is None
    assert score_runs([result]) is None
    # An image of the truth that was not on disk is wrong; images without a label do not count.
    answers = {"id 0": 0, "id 1": 0, "gone": 3}
    score = result.score(answers)
    assert score is not None
    assert (score.images, score.correct, score.missing) == (3, 1, 1)
    assert result.unlabelled(answers) == 6
    few = run(predictor, pictures("d", list(colours), unlabelled), limit=1)
    limited = few.score(answers)
    assert limited is not None
    assert (limited.images, limited.correct) == (1, 1)
    both = score_runs([result, few], {"d": answers})
    assert both is not None
    assert both.accuracy == (100 / 3 + 100) / 2


def test_what_cannot_be_run(predictor: Predictor, pictures: Make, colours: Colours) -> None:
    red = colours["красный"]
    with pytest.raises(DataError, match="no image"):
        run(predictor, pictures("d", ["красный"], []))
    with pytest.raises(DataError, match="no classes"):
        run(predictor, pictures("d", [], [("a", red, None)]))
    with pytest.raises(DataError, match=r"not one of 2 images.*`a`: torn"):
        run(predictor, pictures("d", ["красный"], [("a", "torn", 0), ("b", "torn", 0)]))
    with pytest.raises(DataError, match="two images have the id `a`"):
        run(predictor, pictures("d", ["красный"], [("a", red, 0), ("a", red, 0)]))
    wrong = run(predictor, pictures("d", ["красный"], [("a", red, 4)]))
    with pytest.raises(DataError, match="class index 4 does not exist"):
        wrong.score()


def test_one_class_and_classes_of_one_name(
    predictor: Predictor, pictures: Make, colours: Colours
) -> None:
    row = [("a", colours["красный"], 0)]
    alone = run(predictor, pictures("d", ["синий"], row))
    assert alone.rows[0].probabilities == (1.0,)
    twins = run(predictor, pictures("d", ["синий", "красный", "красный"], row))
    assert twins.predictions == {"a": 1}
    assert "красный" in twins.notes[0]


def test_batch_size_changes_nothing(
    predictor: Predictor, pictures: Make, colours: Colours, rows: list[Any]
) -> None:
    data = pictures("d", list(colours), rows)
    runs = [run(predictor, data, batch_size=size, workers=size) for size in (1, 3, 100)]
    assert runs[0].predictions == runs[1].predictions == runs[2].predictions
    for a, b in zip(runs[0].rows, runs[2].rows, strict=True):
        assert a.probabilities == pytest.approx(b.probabilities, abs=1e-6)
