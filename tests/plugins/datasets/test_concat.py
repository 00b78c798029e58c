"""Several data sets as one."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from engine.contracts import PluginRef
from engine_plugins.datasets.concat import Concat, _different

Make = Callable[..., PluginRef]

SHAPES = {"use": "shapes", "size": 16, "count": 5}
DIGITS = {"use": "digits", "size": 16, "count": 3}


def test_rows_follow_each_other_with_their_own_queries_and_images(make_use: Make) -> None:
    joined = make_use("dataset", "concat", of=[SHAPES, DIGITS]).create()
    parts = [
        make_use("dataset", "shapes", size=16, count=5).create(),
        make_use("dataset", "digits", size=16, count=3).create(),
    ]
    assert len(joined) == 8
    assert joined.name == "shapes+digits"
    assert joined.classes == ()
    rows = [(part, row) for part in parts for row in range(len(part))]
    for index, (part, row) in enumerate(rows):
        own, theirs = joined.record(index), part.record(row)
        assert own.id == f"{part.name}/{theirs.id}"
        assert own.queries == theirs.queries
        assert own.label is None
        assert joined.image(index).tobytes() == part.image(row).tobytes()
    assert list(joined.texts()) == [text for part in parts for text in part.texts()]


def test_two_sets_of_a_name_keep_their_ids_apart(make_use: Make) -> None:
    again = {**SHAPES, "seed": 1}
    joined = make_use("dataset", "concat", of=[SHAPES, again]).create()
    ids = [joined.record(index).id for index in range(len(joined))]
    assert len(set(ids)) == 10
    assert (ids[0], ids[5]) == ("shapes/0", "shapes_2/0")


def test_a_row_with_a_class_alone_is_found_by_its_name(make_use: Make, tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (4, 4)).save(tmp_path / "img" / f"{name}.png")
    (tmp_path / "classes.json").write_text('["кошка", "собака"]', encoding="utf-8")
    truth = tmp_path / "gt.json"
    truth.write_text(json.dumps({tmp_path.name: {"a": 1}}), encoding="utf-8")
    folder = {"use": "zero_shot_folder", "path": str(tmp_path), "truth": str(truth)}
    joined = make_use("dataset", "concat", of=[folder]).create()
    assert [joined.record(index).queries for index in range(2)] == [("собака",), ()]


def test_it_survives_pickle_and_refuses_rows_outside(make_use: Make) -> None:
    joined = make_use("dataset", "concat", of=[SHAPES, DIGITS]).create()
    copy: Concat = pickle.loads(pickle.dumps(joined))
    assert copy.record(6) == joined.record(6)
    assert copy.image(6).tobytes() == joined.image(6).tobytes()
    for outside in (-1, len(joined)):
        with pytest.raises(IndexError):
            joined.record(outside)
        with pytest.raises(IndexError):
            joined.image(outside)


def test_no_data_set_is_refused(make_use: Make) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        make_use("dataset", "concat", of=[])


@given(st.lists(st.sampled_from(["a", "a_2", "a_3", "b"]), max_size=12))
def test_names_become_different(names: list[str]) -> None:
    found = _different(names)
    assert len(set(found)) == len(names)
    for name in set(names):
        assert found[names.index(name)] == name
