"""Answers as CSV and JSON: what is read back is what was answered, whatever the names hold."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable

import pytest
from PIL import Image

from engine.contracts import Dataset
from engine.evaluate.predictor import Predictor
from engine.evaluate.runner import DatasetRun, run
from engine.evaluate.tables import COLUMNS, answers_csv, answers_json

NAMES = ("красный", 'с "кавычками", запятой\nи строкой', "=1+1")


@pytest.fixture
def done(
    predictor: Predictor, colours: dict[str, Image.Image], pictures: Callable[..., Dataset]
) -> DatasetRun:
    rows = [("а, б.png", colours["красный"], None), ("bad", "does not decode", None),
            ('"q".png', colours["красный"], None)]  # fmt: skip
    return run(predictor, pictures("d", NAMES, rows))


def test_csv_is_read_back(done: DatasetRun) -> None:
    found = list(csv.DictReader(io.StringIO(answers_csv([done], 2))))
    assert tuple(found[0]) == COLUMNS
    assert [each["image"] for each in found] == [
        "а, б.png",
        "а, б.png",
        "bad",
        '"q".png',
        '"q".png',
    ]
    assert [each["rank"] for each in found] == ["1", "2", "", "1", "2"]
    assert found[0]["class"] == NAMES[int(found[0]["index"])] == "красный"
    assert {each["class"] for each in found if each["class"]} <= set(NAMES)
    assert found[2]["error"] == "does not decode"
    assert float(found[0]["probability"]) > float(found[1]["probability"]) > 0


def test_json_holds_the_same(done: DatasetRun) -> None:
    (found,) = json.loads(answers_json([done], 1))["datasets"]
    assert found["classes"] == list(NAMES)
    first, broken, _ = found["images"]
    assert [each["class"] for each in first["answers"]] == ["красный"]
    assert broken == {"image": "bad", "error": "does not decode"}
