"""Names that UTF-8 cannot hold cost no more than their spelling; the rest is answered."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

Engine = Callable[..., tuple[int, str, str]]
LATIN1 = b"caf\xe9"
LONE = "\ud83d"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two data sets; a folder, pictures and a class name that UTF-8 cannot hold."""
    for folder in (b"d", LATIN1):
        images = os.path.join(os.fsencode(tmp_path), b"data", folder, b"img")  # noqa: PTH118
        os.makedirs(images)  # noqa: PTH103
        for name in (b"a", LATIN1, b"caf\xe8", b"\xff", "кошка".encode(), b"new\nline"):
            with open(os.path.join(images, name + b".png"), "wb") as file:  # noqa: PTH118, PTH123
                Image.new("RGB", (20, 20), "red").save(file, "png")
        with open(os.path.join(images, b"broken\xe9.png"), "wb") as file:  # noqa: PTH118, PTH123
            file.write(b"no")
        classes = os.path.join(os.path.dirname(images), b"classes.json")  # noqa: PTH118, PTH120
        with open(classes, "w", encoding="utf-8") as text:  # noqa: PTH123
            json.dump(["красный", f"{LONE} a", "\udc00 b"], text)
    return tmp_path / "data"


IDS = ["a", "caf\\udce8", "caf\\udce9", "new\nline", "кошка", "\\udcff"]


def test_predict(engine: Engine, built: Path, data: Path) -> None:
    code, out, err = engine("predict", built, data, "-o", "p.json", "--html", "p.html", "--json")
    assert code == 0, err
    answers = json.loads(Path("p.json").read_bytes())  # UTF-8, or this fails
    assert sorted(answers) == ["caf\\udce9", "d"]
    assert all(sorted(each) == sorted(IDS) for each in answers.values())
    report = json.loads(out)
    assert [each["broken"][0]["id"] for each in report["datasets"]] == ["broken\\udce9"] * 2
    assert "names of images that UTF-8 cannot hold" in err
    Path("p.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("how", ["as Python writes", "as we write"])
def test_right_answers_find_their_images(engine: Engine, built: Path, data: Path, how: str) -> None:
    fs = os.fsdecode(LATIN1)
    name = fs if how == "as Python writes" else "caf\\udce9"
    truth = {each: {"a": 0, name: 1, "кошка": 0} for each in ("d", name)}
    Path("t.json").write_text(json.dumps(truth), encoding="utf-8")
    code, out, err = engine("eval", built, data, "--truth", "t.json", "-o", "p.json", "--json")
    assert code == 0, err
    score = json.loads(out)
    assert [each["missing"] for each in score["datasets"]] == [0, 0]
    assert score["unlabelled"] == 8
    # A file of answers speaks of what the truth knows.
    answers = json.loads(Path("p.json").read_bytes())
    for each in answers.values():
        for image in each.keys() - {"a", "caf\\udce9"}:
            del each[image]
    Path("few.json").write_text(json.dumps(answers), encoding="utf-8")
    code, out, err = engine("eval", "--predictions", "few.json", "--truth", "t.json", "--json")
    assert code == 0, err
    assert [each["missing"] for each in json.loads(out)["datasets"]] == [1, 1]


def test_paths_of_every_argument(engine: Engine, built: Path, data: Path) -> None:
    code, out, err = engine(
        "predict", built, os.fsdecode(os.fsencode(data) + b"/" + LATIN1), "-o",
        os.fsdecode(b"p\xe9.json"), "--html", os.fsdecode(b"p\xe9.html"), "--json",
    )  # fmt: skip
    assert code == 0, err
    assert json.loads(out)["predictions"] == "p\udce9.json"
    assert list(json.loads(Path(os.fsdecode(b"p\xe9.json")).read_bytes())) == ["caf\\udce9"]


def test_the_class_of_a_lone_surrogate_is_a_class(engine: Engine, built: Path, data: Path) -> None:
    code, _, err = engine("predict", built, data / "d", "-o", "p.json")
    assert code == 0, err
    answers = json.loads(Path("p.json").read_bytes())["d"]
    assert set(answers.values()) <= {0, 1, 2}


def test_a_name_that_is_too_long_is_reported_first(
    engine: Engine, built: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.evaluate.loading.load", lambda path: pytest.fail("too late"))
    for name in ("x" * 300, "x" * 256, "ы" * 130):
        code, _, err = engine("predict", built, data, "-o", f"{name}.json")
        assert code == 2
        assert "Traceback" not in err
