"""A run goes on with the data that it began with, or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from engine.core.config.schema import EngineConfig
from engine.errors import TrainingError
from engine.prepare.contents import Contents
from engine.train.run import train

Make = Callable[..., EngineConfig]
Row = dict[str, Any]
COLOURS = ["red", "green", "blue", "white"]


def write(folder: Path, rows: list[Row]) -> None:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(rows):
        picture = Image.new("RGB", (16, 16), COLOURS[number % 4])
        picture.save(folder / "images" / f"{row['image']}.jpg")
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metadata.json").write_text(text, encoding="utf-8")


def fresh() -> list[Row]:
    return [
        {"image": f"p{n}", "queries": [f"a {COLOURS[n % 4]} one", f"number {n}"]} for n in range(24)
    ]


def renamed(rows: list[Row]) -> None:
    rows[5]["image"] = "other"


def swapped(rows: list[Row]) -> None:
    rows[2], rows[3] = rows[3], rows[2]


def reworded(rows: list[Row]) -> None:
    rows[7]["queries"][1] = "another text"


def reordered_queries(rows: list[Row]) -> None:
    rows[7]["queries"].reverse()


def moved_query(rows: list[Row]) -> None:
    rows[8]["queries"].append(rows[7]["queries"].pop())


def split_query(rows: list[Row]) -> None:
    rows[9]["queries"] = ["a green", "one", "number 9"]


CHANGES: list[tuple[Callable[[list[Row]], None], str]] = [
    (lambda rows: rows.append({"image": "more", "queries": ["x"]}), "24 rows, .* are 25"),
    (lambda rows: rows.pop(), "24 rows, .* are 23"),
    (lambda rows: rows.pop(0), "24 rows, .* are 23"),
    (renamed, r"row 5 \(now `other`\) has other ids"),
    (swapped, r"row 2 \(now `p3`\) has other ids, or .* order, and so have later rows"),
    (reworded, r"row 7 \(now `p7`\) has other texts"),
    (reordered_queries, r"row 7 \(now `p7`\) has other texts"),
    (moved_query, r"row 7 \(now `p7`\) has other texts, and so have later rows, in 1 place"),
    (split_query, r"row 9 \(now `p9`\) has other texts"),
]


@pytest.mark.parametrize(("change", "words"), CHANGES)
def test_changed_data_are_refused_with_what_changed(
    make_config: Make, tmp_path: Path, change: Any, words: str
) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    config = make_config(
        f"data.train={{use: click_log, path: {data}}}", "train.stages.0.batch_size=6"
    )
    write(data, fresh())
    train(config, run)
    train(config, run, resume=True)  # the same data
    rows = fresh()
    change(rows)
    write(data, rows)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(TrainingError, match=words) as caught:
        train(config, run, resume=True)
    assert "put the data back" in (caught.value.hint or "")
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert {p for p in before if after.get(p) != before[p] and p.suffix != ".lock"} == set()
    write(data, fresh())
    train(config, run, resume=True)


def test_what_does_not_belong_to_the_data_may_change(make_config: Make, tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    config = make_config(
        f"data.train={{use: click_log, path: {data}}}", "train.stages.0.batch_size=6"
    )
    write(data, fresh())
    train(config, run)
    text = "".join(json.dumps(row | {"more": 1}, indent=None) + " \n" for row in fresh())
    (data / "metadata.json").write_text(text, encoding="utf-8")
    os.utime(data / "metadata.json", (1, 1))
    train(config, run, resume=True)


Rows = list[tuple[str, list[str]]]
ROWS = st.lists(
    st.tuples(st.text(max_size=4), st.lists(st.text(max_size=3), max_size=3)), max_size=9
)


def contents(rows: Rows) -> Contents:
    found = Contents()
    for id, texts in rows:
        found.add(id, texts)
    return found


@given(ROWS, ROWS)
def test_two_data_sets_have_one_summary_if_and_only_if_they_are_equal(one: Rows, two: Rows) -> None:
    then = json.loads(json.dumps(contents(one).summary()))
    change = contents(two).change(then, lambda row: two[row][0])
    assert (change is None) == (one == two)


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 1000, 5000])
@pytest.mark.parametrize("field", ["ids", "texts"])
def test_the_place_of_a_change_is_named_in_data_of_any_size(count: int, field: str) -> None:
    rows: Rows = [(f"p{n}", [f"t{n}"]) for n in range(count)]
    then = contents(rows).summary()
    assert len(then["ids"]) <= 256
    assert contents(rows).change(then, str) is None
    for place in {0, count // 2, count - 1} if count else ():
        other = list(rows)
        other[place] = ("\ud800", rows[place][1]) if field == "ids" else (rows[place][0], ["x"])
        change = contents(other).change(then, lambda row, rows=other: rows[row][0])
        assert change is not None
        numbers = [int(word.replace(",", "")) for word in change.split() if word[0].isdigit()]
        assert numbers[0] <= place <= numbers[-1]
        assert ("ids" in change) == (field == "ids")


def test_a_checkpoint_without_a_summary_is_refused() -> None:
    assert contents([]).change(None, str)
