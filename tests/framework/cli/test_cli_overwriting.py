"""No command writes over a file that it reads, under whatever name, and each tells it first."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

Engine = Callable[..., tuple[int, str, str]]


@pytest.fixture
def files(tmp_path: Path, built: Path) -> Path:
    """An artifact, data to evaluate, a click log, a run, a suite; other names of the truth."""
    write = lambda name, text: (tmp_path / name).write_text(text, encoding="utf-8")  # noqa: E731
    shutil.copytree(built, tmp_path / "model")
    shutil.copy(built.parent / "little.yaml", tmp_path)
    (tmp_path / "data" / "d" / "img").mkdir(parents=True)
    write("data/d/classes.json", '["красный", "синий"]')
    for name in "ab":
        Image.new("RGB", (20, 20), "red").save(tmp_path / "data" / "d" / "img" / f"{name}.png")
    write("data/gt.json", '{"d": {"a": 0, "b": 1}}')
    write("truth.json", '{"d": {"a": 0, "b": 1}}')
    os.link(tmp_path / "data/gt.json", tmp_path / "hard.json")
    (tmp_path / "soft.json").symlink_to("data/gt.json")
    (tmp_path / "folder").symlink_to("data")
    (tmp_path / "log" / "images").mkdir(parents=True)
    rows = [{"image": i, "queries": [f"кошка {i}"]} for i in range(3)]
    write("log/metadata.json", "".join(json.dumps(row) + "\n" for row in rows))
    write("log/images.json", "".join(json.dumps({"image": i, "url": "x"}) + "\n" for i in "123"))
    write("log/steps.yaml", "steps: [case]\n")
    for i in range(3):
        for suffix in ("jpg", "html"):
            image = Image.new("RGB", (20, 20), (80 * i, 0, 0))
            image.save(tmp_path / "log" / "images" / f"{i}.{suffix}", "jpeg")
    clusters = [{"image": i, "cluster": 0} for i in range(3)]
    write("log/clusters.html", "".join(json.dumps(row) + "\n" for row in clusters))
    (tmp_path / "run").mkdir()
    write("run/history.jsonl", '{"step": 1, "loss": 1.0}\n')
    write("run/config.yaml", (tmp_path / "little.yaml").read_text(encoding="utf-8"))
    (tmp_path / "answers").mkdir()
    write("answers/theirs.0.json", '{"d": {"a": 0, "b": 1}}')
    suite = {"engine": 1, "name": "s", "entries": [
        {"name": "theirs", "predictions": "answers/theirs.0.json"}], "data": [{"folder": "data"}],
        "measure": {"speed": False}}  # fmt: skip
    write("suite.json", json.dumps(suite))
    return tmp_path


PREDICT = ("predict", "model", "data", "-o")
EVAL = ("eval", "model", "data", "-o")
COMMANDS: dict[str, tuple[str, ...]] = {
    "predict, the truth": (*PREDICT, "data/gt.json"),
    "predict, a hard link": (*PREDICT, "hard.json"),
    "predict, a symbolic link": (*PREDICT, "soft.json"),
    "predict, through a linked folder": (*PREDICT, "folder/gt.json"),
    "predict, with dots": (*PREDICT, "data/d/../gt.json"),
    "predict, the truth named": (*PREDICT, "truth.json", "--truth", "truth.json"),
    "predict, class names": (*PREDICT, "data/d/classes.json"),
    "predict, an image": (*PREDICT, "data/d/img/a.png"),
    "predict, the weights": (*PREDICT, "model/model.safetensors"),
    "predict, the page": (*PREDICT, "p.json", "--html", "model/engine.json"),
    "predict, twice": (*PREDICT, "p.json", "--html", "./p.json"),
    "predict, a device": (*PREDICT, "/dev/null"),
    "predict, a folder": (*PREDICT, "data"),
    "predict, below a file": (*PREDICT, "hard.json/p.json"),
    "eval, the truth": (*EVAL, "data/gt.json"),
    "eval, a hard link": (*EVAL, "hard.json"),
    "eval, the truth named": (*EVAL, "truth.json", "--truth", "./truth.json"),
    "eval, the page": ("eval", "model", "data", "--html", "soft.json"),
    "eval, the config": (*EVAL, "model/config.yaml"),
    "stats": ("data", "stats", "log", "--html", "log/metadata.json"),
    "stats of a file": ("data", "stats", "log/metadata.json", "--html", "log/metadata.json"),
    "show, an image": ("data", "show", "log", "-o", "log/images/1.html"),
    "show, clusters": ("data", "show", "log", "--cluster", "0", "--clusters", "log/clusters.html",
                       "-o", "log/clusters.html"),
    "clean, the table": ("data", "clean", "log", "-o", "metadata.json"),
    "clean, the steps": ("data", "clean", "log", "--config", "log/steps.yaml", "-o", "steps.yaml"),
    "download": ("data", "download", "log/metadata.json", "log/images.json", "log"),
    "run, its history": ("show", "run", "--html", "run/history.jsonl"),
    "run, its config": ("show", "run", "--html", "run/config.yaml"),
    "clusters": ("cluster", "show", "model", "--html", "model/model.safetensors"),
    "bench, predictions": ("bench", "run", "suite.json", "-o", "answers/theirs.0.json"),
    "bench, the suite": ("bench", "run", "suite.json", "-o", "suite.json"),
    "bench, the truth": ("bench", "run", "suite.json", "-o", "hard.json"),
    "bench, a folder": ("bench", "run", "suite.json", "--predictions", "answers"),
    "build, its config": ("build", "model/config.yaml", "-o", "model"),
    "build, its weights": ("build", "little.yaml", "-o", "model", "--set",
                           "model.text.weights={from: 'file:model/model.safetensors'}"),
    "import": ("import", "model/model.safetensors", "--config", "little.yaml", "-o", "model"),
    "export": ("export", "model", "--to", "onnx", "-o", "model"),
    "train": ("train", "run/config.yaml", "-o", "run", "--force"),
}  # fmt: skip


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_refused_and_nothing_changed(
    engine: Engine, files: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # Reported before the work: no model is read, no table, no list.
    monkeypatch.setattr("engine.evaluate.loading.load", lambda path: pytest.fail("too late"))
    before, device = digest(files), Path("/dev/null").is_char_device()
    code, _, err = engine(*COMMANDS[name])
    assert code == 2, err
    assert digest(files) == before
    assert Path("/dev/null").is_char_device() == device
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 3


@pytest.mark.parametrize(
    "arguments",
    [
        (*PREDICT, "data/p.json", "--html", "data/d/p.html"),
        (*EVAL, "model/p.json", "--html", "data/g.html"),
        ("data", "stats", "log", "--html", "log/stats.html"),
        ("data", "show", "log", "-o", "log/sheet.html"),
        ("data", "clean", "log"),
        ("show", "run"),
        ("show", "run", "--html", "run/my.html"),
    ],
)
def test_beside_what_is_read_and_again(
    engine: Engine, files: Path, arguments: tuple[str, ...]
) -> None:
    for _ in range(2):
        code, _, err = engine(*arguments)
        assert code == 0, err


def test_right_answers_of_other_classes_are_reported_before_the_work(
    engine: Engine, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.evaluate.loading.load", lambda path: pytest.fail("too late"))
    Path("truth.json").write_text('{"d": {"a": 0, "b": 2}}', encoding="utf-8")
    for command in ((*EVAL, "p.json"), (*PREDICT, "p.json", "--html", "p.html")):
        code, _, err = engine(*command, "--truth", "truth.json")
        assert code == 2
        assert "image `b` of data set `d` shows class 2, but there are 2 classes" in err
