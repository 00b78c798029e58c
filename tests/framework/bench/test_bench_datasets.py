from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.bench.contamination import Training
from engine.bench.datasets import EvaluatedDataset, evaluated_of, leaves, use_of
from engine.bench.suite import SuiteSettings
from engine.core.registry import default_registry
from engine.errors import DataError


def suite(*data: object) -> SuiteSettings:
    plain = {
        "engine": 1, "name": "tried", "entries": [{"name": "a", "config": "a.yaml"}],
        "data": list(data),
    }  # fmt: skip
    return SuiteSettings.model_validate(plain, context={"registry": default_registry()})


SHAPES = {"use": "shapes", "split": "test", "size": 16, "count": 6}


def test_a_folder_gives_its_data_sets(photographs: Path) -> None:
    evaluated, skipped = evaluated_of(suite({"folder": str(photographs)}, {"dataset": SHAPES}))
    assert [each.name for each in evaluated] == ["one", "two", "shapes"]
    assert not skipped
    assert [evaluated[0].open().record(i).label for i in range(3)] == [0, 1, 2]


def test_only_some_of_a_folder(photographs: Path) -> None:
    evaluated, _ = evaluated_of(suite({"folder": str(photographs), "only": ["two"]}))
    assert [each.name for each in evaluated] == ["two"]
    with pytest.raises(DataError, match=r"no data set `tow` \(did you mean `two`\?\)"):
        evaluated_of(suite({"folder": str(photographs), "only": ["tow"]}))


def test_what_is_missing_is_reported_or_left_out(tmp_path: Path) -> None:
    missing = {"folder": str(tmp_path / "nowhere")}
    with pytest.raises(DataError, match="no such folder"):
        evaluated_of(suite(missing, {"dataset": SHAPES}))
    evaluated, skipped = evaluated_of(suite({**missing, "optional": True}, {"dataset": SHAPES}))
    assert [each.name for each in evaluated] == ["shapes"]
    assert "no such folder" in skipped[str(tmp_path / "nowhere")]


def test_nothing_left_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not one of its data sets is here"):
        evaluated_of(suite({"folder": str(tmp_path / "nowhere"), "optional": True}))


def test_a_folder_without_answers_is_reported(photographs: Path) -> None:
    (photographs / "gt.json").unlink()
    with pytest.raises(DataError, match=r"has no gt\.json"):
        evaluated_of(suite({"folder": str(photographs)}))


def test_an_empty_data_set_is_reported(photographs: Path) -> None:
    for path in (photographs / "one" / "img").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="has no image"):
        evaluated_of(suite({"folder": str(photographs)}))


def test_two_data_sets_of_one_name_are_reported(photographs: Path) -> None:
    with pytest.raises(DataError, match="two data sets are called `one`"):
        evaluated_of(suite({"folder": str(photographs)}, {"dataset": SHAPES, "name": "one"}))


def test_data_without_classes_cannot_be_judged_on(tmp_path: Path) -> None:
    line = {"image": 1, "queries": ["кошка"]}
    (tmp_path / "metadata.json").write_text(json.dumps(line) + "\n")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match="has no classes"):
        evaluated_of(suite({"dataset": {"use": "click_log", "path": str(tmp_path)}}))


def test_a_judged_data_set_comes_back_from_json() -> None:
    evaluated = EvaluatedDataset("x", use_of(SHAPES), ("цифра {}",))
    assert EvaluatedDataset.from_json(json.loads(json.dumps(evaluated.to_json()))) == evaluated


def test_leaves_of_data_made_of_others() -> None:
    joined = use_of({"use": "concat", "of": [SHAPES, {"use": "digits"}]})
    assert [leaf.name for leaf in leaves(joined)] == ["shapes", "digits"]
    assert leaves(use_of(SHAPES)) == [use_of(SHAPES)]


def seen(trained: object, evaluated: object) -> tuple[str, str]:
    use = use_of(evaluated)  # type: ignore[arg-type]
    found = Training(use_of(trained)).seen(use, use.create())  # type: ignore[arg-type]
    return found.images, found.note


def test_the_very_data_set_was_seen() -> None:
    joined = {"use": "concat", "of": [{"use": "digits", "count": 5}, SHAPES]}
    assert seen(joined, SHAPES) == ("trained on these very images", "")


def test_another_part_of_it_was_seen() -> None:
    trained = {**SHAPES, "split": "train"}
    assert seen(trained, SHAPES) == ("", "trained on another part of the same data set")


def test_nothing_of_it_was_seen() -> None:
    assert seen({"use": "digits", "count": 20}, SHAPES) == ("", "")


def test_the_same_pictures_are_found_by_their_content(photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "log" / "images").mkdir(parents=True)
    lines = []
    for number, name in enumerate(("0.png", "4.png")):
        data = (photographs / "one" / "img" / name).read_bytes()
        (tmp_path / "log" / "images" / f"{number}.png").write_bytes(data)
        lines.append(json.dumps({"image": number, "queries": ["что-то"]}))
    (tmp_path / "log" / "metadata.json").write_text("\n".join(lines) + "\n")
    trained = {"use": "click_log", "path": str(tmp_path / "log"), "suffix": ".png"}
    evaluated = {"use": "zero_shot_folder", "path": str(photographs / "one"),
              "truth": str(photographs / "gt.json")}  # fmt: skip
    assert seen(trained, evaluated) == ("2 of 9 images were trained on", "")


def test_training_data_that_are_gone_are_said_to_be() -> None:
    use = use_of(SHAPES)
    gone = use_of({"use": "click_log", "path": "/nowhere/at/all"})
    found = Training(gone).seen(use, use.create())
    assert "not here to be compared" in found.note
