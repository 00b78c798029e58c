"""Packages of third parties: built as wheels, installed, used through their entry points, gone."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from .environment import Environment

pytestmark = pytest.mark.slow

METRIC = "engine-macro-f1"
STORAGE = "engine-int12-storage"
GOOD = ("engine-conv-text", "engine-flags", "engine-lora", "engine-hello")
TOWER = "engine-letterbox"
TRAINING = ("engine-layer-rates", "engine-weight-mean")
BROKEN = ("engine-broken-import", "engine-old-api", "engine-name-clash")

FEW_STEPS = (
    "train.stages=[{name: a few, trains: {vision: true, text: true}, steps: 3, batch_size: 16}]"
)


@pytest.fixture(scope="module")
def packages(root: Path) -> Path:
    return root / "tests" / "packages"


@pytest.fixture(scope="module")
def root() -> Path:
    return Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheels(
    clean: Environment, packages: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The wheel of every package."""
    folder = tmp_path_factory.mktemp("wheels")
    return {
        name: clean.wheel(packages / name, folder / name)
        for name in (*GOOD, *TRAINING, METRIC, STORAGE, TOWER, *BROKEN)
    }


@pytest.fixture
def installed(
    clean: Environment, wheels: dict[str, Path], tmp_path: Path
) -> Iterator[Callable[..., None]]:
    """Installs wheels by the names of their packages; at the end they are gone."""
    names: list[str] = []

    def install(*wanted: str) -> None:
        names.extend(wanted)
        clean.done("pip", "install", "--no-deps", *(wheels[name] for name in wanted), cwd=tmp_path)

    yield install
    if names:
        clean.done("pip", "uninstall", "--yes", *names, cwd=tmp_path)


def plugins(clean: Environment, folder: Path) -> dict[str, list[dict[str, object]]]:
    loaded: dict[str, list[dict[str, object]]] = json.loads(
        clean.done("engine", "plugins", "--json", cwd=folder)
    )
    return loaded


def test_good_packages(
    clean: Environment, installed: Callable[..., None], packages: Path, tmp_path: Path
) -> None:
    before = plugins(clean, tmp_path)
    assert before["broken"] == before["clashes"] == []
    assert {row["distribution"] for row in before["plugins"]} == {"engine-towers"}
    installed(*GOOD)
    listed = plugins(clean, tmp_path)
    theirs = {(r["name"], r["distribution"], r["version"]) for r in listed["plugins"]} - {
        (r["name"], r["distribution"], r["version"]) for r in before["plugins"]
    }
    assert theirs == {
        ("conv_text", "engine-conv-text", "1.3.0"),
        ("flags", "engine-flags", "0.2.1"),
        ("hello", "engine-hello", "0.1.0"),
        ("count", "engine-hello", "0.1.0"),
        ("lora_rubert", "engine-lora", "0.1.0"),
        ("same_relations", "engine-lora", "0.1.0"),
    }
    assert "span" in clean.done("engine", "plugins", "conv_text", cwd=tmp_path)
    shown = clean.done("engine", "plugins", cwd=tmp_path)
    assert "engine-conv-text 1.3.0" in shown
    assert "engine-flags 0.2.1" in shown

    assert "Greet somebody." in clean.done("engine", "--help", cwd=tmp_path)
    assert clean.done("engine", "hello", "you", cwd=tmp_path) == "hello you\n"

    # Both in one model: the text encoder of one package learns from the data set of the other.
    shutil.copy(packages / "engine-conv-text" / "my.yaml", tmp_path / "my.yaml")
    data = [
        "--set", "data.train={use: flags, count: 64}",
        "--set", "data.evaluate=[{use: flags, split: test, count: 26}]",
    ]  # fmt: skip
    clean.done("engine", "build", "my.yaml", *data, cwd=tmp_path)
    manifest = json.loads((tmp_path / "build" / "conv_text" / "engine.json").read_text())
    assert {
        "kind": "text_encoder", "name": "conv_text",
        "distribution": "engine-conv-text", "version": "1.3.0",
    } in manifest["plugins"]  # fmt: skip
    planned = clean.done("engine", "size", "my.yaml", "--json", *data, cwd=tmp_path)
    on_meta = clean.done("engine", "size", "my.yaml", "--json", "--meta", *data, cwd=tmp_path)
    assert planned == on_meta
    clean.done("engine", "train", "my.yaml", *data, "--set", FEW_STEPS, cwd=tmp_path)
    clean.done("engine", "data", "make", "flags", "data", "--count", "8", "--test-count", "26",
               cwd=tmp_path)  # fmt: skip
    answers = tmp_path / "predictions.json"
    clean.done("engine", "predict", "runs/conv_text/model", "data/test", "-o", answers,
               cwd=tmp_path)  # fmt: skip
    assert len(json.loads(answers.read_text())["flags"]) == 26

    # Uninstalled, they are gone; a config and an artifact that use them say what is missing.
    clean.done("pip", "uninstall", "--yes", *GOOD, cwd=tmp_path)
    assert plugins(clean, tmp_path) == before
    for command in (
        ["build", "my.yaml"],
        ["predict", "runs/conv_text/model", "data/test", "-o", "p"],
    ):
        done = clean.run("engine", *command, cwd=tmp_path)
        assert done.returncode == 2
        assert "unknown text_encoder `conv_text`" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", [*GOOD, *TRAINING, STORAGE, TOWER])
def test_their_own_tests(
    name: str, clean: Environment, installed: Callable[..., None], packages: Path, tmp_path: Path
) -> None:
    installed(name)
    shutil.copytree(packages / name / "tests", tmp_path / "tests")
    assert "passed" in clean.done("pytest", "-p", "no:cacheprovider", cwd=tmp_path)


def test_an_optimizer_and_a_callback_of_packages_train_and_go_on(
    clean: Environment, installed: Callable[..., None], packages: Path, tmp_path: Path
) -> None:
    installed("engine-conv-text", *TRAINING)
    shutil.copy(packages / "engine-conv-text" / "my.yaml", tmp_path / "my.yaml")
    stages = FEW_STEPS.replace("}]", ", optimizer: {use: layer_rates, decay: 0.5}}]")
    chosen = ["--set", "data.train.count=32", "--set", "data.evaluate=[]", "--set", stages,
              "--set", "train.callbacks=[{use: weight_mean}]"]  # fmt: skip
    said = clean.done("engine", "train", "my.yaml", *chosen, cwd=tmp_path)
    assert "mean of the weights" in " ".join(said.split())
    model = tmp_path / "runs" / "conv_text" / "model"
    first = (model / "model.safetensors").read_bytes()
    clean.done("engine", "train", "my.yaml", *chosen, "--resume", cwd=tmp_path)
    assert (model / "model.safetensors").read_bytes() == first
    manifest = json.loads((model / "engine.json").read_text())
    assert manifest["trained_weights"] == "mean of the weights after step 3 of 3"


def test_broken_packages_harm_nothing(
    clean: Environment, installed: Callable[..., None], packages: Path, tmp_path: Path
) -> None:
    installed(*BROKEN, "engine-conv-text")
    listed = plugins(clean, tmp_path)
    broken = {row["distribution"]: str(row["error"]) for row in listed["broken"]}
    assert broken.keys() == {"engine-broken-import", "engine-old-api"}
    assert "a_library_that_nobody_has" in broken["engine-broken-import"]
    assert "7.2" in broken["engine-old-api"]
    assert "Recipe" not in broken["engine-old-api"]  # none of its code ran
    assert listed["clashes"] == [
        {
            "kind": "loss", "name": "sigmoid",
            "distributions": ["engine-name-clash 0.1.0", "engine-towers 0.1.0"],
        }
    ]  # fmt: skip
    shown = clean.done("engine", "plugins", cwd=tmp_path)
    assert shown.count("BROKEN") == 2
    assert "CLASH  two plugins are called loss `sigmoid`" in shown

    # All others work: those of Engine, of a good package, and of the one that clashes.
    shutil.copy(packages / "engine-conv-text" / "my.yaml", tmp_path / "my.yaml")
    clean.done("engine", "size", "my.yaml", cwd=tmp_path)
    quiet = ["--set", "train.loggers=[{use: quiet}]", "--set", "data.train.count=32",
             "--set", "data.evaluate=[]", "--set", FEW_STEPS]  # fmt: skip
    clean.done("engine", "train", "my.yaml", *quiet, cwd=tmp_path)

    # The names that are lost say why.
    for setting, words in (
        ("model.text={use: theirs}", "a_library_that_nobody_has"),
        ("train.stages=[{name: x, steps: 1, losses: [{use: sigmoid}]}]", "is offered by 2 plugins"),
    ):
        done = clean.run("engine", "size", "my.yaml", "--set", setting, cwd=tmp_path)
        assert done.returncode == 2
        assert words in done.stderr
        assert "Traceback" not in done.stderr


SUITE = """
engine: 1
name: tried
measure: {draws: 200, speed: false}
entries:
  - {name: good, predictions: good.json}
  - {name: bad, predictions: bad.json}
data: [{folder: data}]
"""


def test_a_metric_of_one_file_appears_everywhere(
    clean: Environment, installed: Callable[..., None], packages: Path, tmp_path: Path
) -> None:
    sources = [path for path in (packages / METRIC).rglob("*") if path.suffix == ".py"]
    assert len(sources) == 1
    folder = tmp_path / "data" / "d"
    (folder / "img").mkdir(parents=True)
    (folder / "classes.json").write_text('["кошка", "собака", "лиса"]')
    rows = {str(i): i % 3 for i in range(9)}
    for image in rows:
        Image.new("RGB", (8, 8)).save(folder / "img" / f"{image}.png")
    for name, answers in (("data/gt", rows), ("good", {**rows, "0": 1}),
                          ("bad", dict.fromkeys(rows, 0))):  # fmt: skip
        (tmp_path / f"{name}.json").write_text(json.dumps({"d": answers}))
    (tmp_path / "suite.yaml").write_text(SUITE)
    scoring = ("engine", "eval", "--predictions", "good.json", "--truth", "data/gt.json")
    bench = ("engine", "bench", "suite.yaml", "--folder", "out", "-o", "b.csv", "-o", "b.md",
             "-o", "b.tex", "-o", "b.json", "--html", "b.html")  # fmt: skip
    assert "macro" not in clean.done(*scoring, cwd=tmp_path)
    assert "macro" not in clean.done(*bench, cwd=tmp_path)

    installed(METRIC)
    # Three classes of three images; one answer is wrong: F1 of 4/5, 6/7 and 1.
    value = 100 * (4 / 5 + 6 / 7 + 1) / 3
    loaded = json.loads(clean.done(*scoring, "--json", cwd=tmp_path))
    assert loaded["metrics"]["macro_f1"]["value"] == pytest.approx(value)
    assert loaded["datasets"][0]["metrics"]["macro_f1"]["value"] == pytest.approx(value)
    assert loaded["declarations"]["macro_f1"]["unit"] == "%"
    assert loaded["declarations"]["macro_f1"]["higher_is_better"] is True
    assert "macro-F1, % ↑" in clean.done(*scoring, cwd=tmp_path)

    # The answers that were kept are enough: no entry is evaluated again.
    results = sorted((tmp_path / "out" / "results").iterdir())
    before = {path: path.stat().st_mtime_ns for path in results}
    shown = clean.done(*bench, cwd=tmp_path)
    assert {path: path.stat().st_mtime_ns for path in results} == before
    assert "macro-F1, % ↑" in shown
    assert f"{value:.1f}" in shown
    (line, _) = csv.DictReader((tmp_path / "b.csv").read_text().splitlines())
    assert float(line["macro_f1"]) == pytest.approx(value)
    assert "macro_f1 (%, higher is better)" in line["metrics"]
    leaderboard = json.loads((tmp_path / "b.json").read_text())
    assert leaderboard["rows"][0]["metrics"]["macro_f1"]["value"] == pytest.approx(value)
    page = (tmp_path / "b.html").read_text()
    assert '"heading":"macro-F1"' in page
    assert '"higherIsBetter":true' in page
    assert "macro-F1, % ↑ |" in (tmp_path / "b.md").read_text()
    assert r"macro-F1, \% $\uparrow$" in (tmp_path / "b.tex").read_text()
    compared = ("engine", "bench", "compare", "good", "bad", "--folder", "out")
    assert "macro-F1, % ↑" in clean.done(*compared, cwd=tmp_path)
    found = json.loads(clean.done(*compared, "--json", cwd=tmp_path))["metrics"]["macro_f1"]
    assert (found["better"], found["unit"], found["higher_is_better"]) == ("a", "%", True)


def test_a_tower_with_its_own_preprocessing_works_everywhere(
    clean: Environment, installed: Callable[..., None], packages: Path, tmp_path: Path
) -> None:
    """Train with crops and a frozen prefix from the cache, evaluate, bench, predict, export."""
    installed(TOWER, "engine-flags")
    shutil.copy(packages / TOWER / "my.yaml", tmp_path / "my.yaml")
    stages = (
        "train.stages=[{name: all, trains: {vision: true, text: true}, steps: 120, batch_size: 26,"
        " augment: {views: 2, crop: [0.9, 1.0], flip: false}, optimizer: {use: adamw, lr: 3.0e-3}},"
        " {name: rest, trains: {vision: false, text: true}, steps: 20,"
        " batch_size: 26}]"
    )
    data = ["--set", "data.train={use: flags, count: 260}",
            "--set", "data.evaluate=[{use: flags, split: test, count: 26}]"]  # fmt: skip
    done = clean.run("engine", "train", "my.yaml", *data, "--set", stages, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "vision: 4 of 4 segments computed once" in " ".join(done.stderr.split())
    clean.done("engine", "data", "make", "flags", "data", "--count", "8", "--test-count", "52",
               cwd=tmp_path)  # fmt: skip
    model = "runs/letterbox/model"
    scores = [
        json.loads(clean.done("engine", "eval", model, "data/test", "--json", *more,
                              cwd=tmp_path))["metrics"]["accuracy"]["value"]
        for more in ([], ["--cache", "kept"], ["--cache", "kept"])
    ]  # fmt: skip
    assert scores[0] == scores[1] == scores[2] > 30  # by chance 4 %
    suite = SUITE.partition("entries:")[0] + f"entries: [{{name: one, artifact: {model}}}]\n"
    (tmp_path / "suite.yaml").write_text(suite + "data: [{folder: data/test}]\n")
    clean.done("engine", "bench", "suite.yaml", "--folder", "out", "-o", "b.csv", cwd=tmp_path)
    (line,) = csv.DictReader((tmp_path / "b.csv").read_text().splitlines())
    assert float(line["accuracy"]) == pytest.approx(scores[0])
    refused = clean.run("engine", "export", model, "--to", "transformers", "-o", "t", cwd=tmp_path)
    assert refused.returncode == 2
    assert "in its own way (Letterbox)" in " ".join(refused.stderr.split())
    clean.done("engine", "export", model, "--to", "onnx", "-o", "onnx", cwd=tmp_path)
    assert "bars" in (tmp_path / "onnx" / "preprocess.py").read_text()


def test_a_storage_weighs_what_was_predicted(
    clean: Environment, installed: Callable[..., None], packages: Path, tmp_path: Path
) -> None:
    installed(STORAGE, "engine-flags")
    shutil.copy(packages / "engine-flags" / "my.yaml", tmp_path / "my.yaml")
    storage = (
        "storage={default: int8_rows, keep: [norms],"
        " rules: [{match: 'vision.*', use: int12, block: 64}, {match: '*bias', use: int12}]}"
    )
    rows = ["--set", storage, "--set", "data.train={use: flags, count: 64}"]
    sized = ("engine", "size", "my.yaml", "--json", "--tensors", *rows)
    (before,) = json.loads(clean.done(*sized, cwd=tmp_path))["models"]
    clean.done("engine", "build", "my.yaml", "-o", "model", *rows, cwd=tmp_path)
    sized = ("engine", "size", "model", "--json", "--tensors")
    (after,) = json.loads(clean.done(*sized, cwd=tmp_path))["models"]
    assert before["bytes"] == (tmp_path / "model" / "model.safetensors").stat().st_size
    assert before["tensors"] == after["tensors"]
    assert {"int12", "int8_rows", "float32"} <= {one["storage"] for one in after["tensors"]}
    manifest = json.loads((tmp_path / "model" / "engine.json").read_text())
    used = {(row["kind"], row["name"], row["distribution"]) for row in manifest["plugins"]}
    assert ("storage", "int12", STORAGE) in used
    clean.done("engine", "data", "make", "flags", "data", "--count", "8", "--test-count", "26",
               cwd=tmp_path)  # fmt: skip
    clean.done("engine", "predict", "model", "data/test", "-o", "p.json", cwd=tmp_path)
    assert len(json.loads((tmp_path / "p.json").read_text())["flags"]) == 26

    # Without the package the artifact says what is missing.
    clean.done("pip", "uninstall", "--yes", STORAGE, cwd=tmp_path)
    done = clean.run("engine", "predict", "model", "data/test", "-o", "q.json", cwd=tmp_path)
    assert done.returncode == 2
    assert "unknown storage `int12`" in done.stderr
    assert "Traceback" not in done.stderr
