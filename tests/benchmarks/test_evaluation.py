"""The benchmark of evaluation: both tools get the same pictures, names and weights."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def evaluation(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    return importlib.import_module("evaluation")


@pytest.fixture
def given(evaluation: ModuleType) -> ModuleType:
    """What both sides get."""
    return importlib.import_module("evaluation_given")


@pytest.fixture
def made_up(
    given: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> tuple[list[str], dict[str, int], Path]:
    """Photographs where the sample does not lie beside the project."""
    monkeypatch.setattr(given, "SAMPLE", tmp_path / "nowhere")
    return given.photographs(tmp_path)


def test_names_and_templates_are_real_and_different(given: ModuleType) -> None:
    names, words = given.class_names(), given.templates()
    assert len(set(names)) == 1000
    assert {"tench", "missile", "projectile", "dark glasses"} <= set(names)
    assert len(set(words)) == 7
    assert all(word.count("{}") == 1 for word in words)


def test_pictures_are_made_up_where_there_are_none(
    made_up: tuple[list[str], dict[str, int], Path],
) -> None:
    names, truth, folder = made_up
    assert len(truth) == 570
    assert set(truth.values()) == set(range(len(names))) == set(range(19))
    sizes = {Image.open(folder / f"{image}.jpg").size for image in list(truth)[:40]}
    assert len(sizes) > 10
    assert {width for width, _ in sizes} == {300}


def test_both_tools_get_the_same_pictures_and_names(
    given: ModuleType, made_up: tuple[list[str], dict[str, int], Path], tmp_path: Path
) -> None:
    from engine.data.contest import find_zero_shot_folders, read_truth

    names, truth, source = made_up
    case = tmp_path / "case"
    given.write_case(case, names, ["a {} in it"], truth, source)
    (ours,) = find_zero_shot_folders(case / "ours")
    assert json.loads((ours / "classes.json").read_text()) == names
    assert read_truth(case / "gt.json") == {ours.name: truth}
    theirs = sorted((case / "theirs" / "val").iterdir())  # its order is the class index
    assert [folder.name for folder in theirs] == [f"{label:03}" for label in range(19)]
    labels = {file.stem: i for i, folder in enumerate(theirs) for file in folder.iterdir()}
    assert labels == truth
    assert {file.stem for file in (ours / "img").iterdir()} == truth.keys()
    for file in (*(ours / "img").iterdir(), *theirs[0].iterdir()):
        assert file.resolve() == (source / file.name).resolve()
    assert json.loads((case / "names.json").read_text()) == {"imagenet1k-unverified": names}
    assert json.loads((case / "templates.json").read_text()) == {
        "imagenet1k-unverified": ["a {c} in it"]
    }


def test_ratios_are_theirs_over_ours(evaluation: ModuleType) -> None:
    theirs = evaluation.Side([8, 9, 10], [30], [20, 20, 40], [60])
    ours = evaluation.Side([4, 3, 1], [10], [10, 10, 10], [10])
    case = evaluation.Case("", theirs, ours, 0, 1, 0.0, (0.0, 0.0))
    assert evaluation.ratios(case, "wall") == (3, 2)
    assert evaluation.ratios(case, "cpu") == (3, 6)


@pytest.mark.slow
def test_weights_give_features_around_zero_and_fit_the_config(
    given: ModuleType, made_up: tuple[list[str], dict[str, int], Path], tmp_path: Path
) -> None:
    import engine

    _, truth, source = made_up
    weights, some = tmp_path / "weights.safetensors", [source / f"{i}.jpg" for i in truth][:24]
    names = given.class_names()[:40]
    given.write_weights(weights, some, [f"a photo of a {name}." for name in names])
    given.write_artifact(tmp_path / "artifact", weights, ["a photo of a {}."])
    predictor = engine.load(tmp_path / "artifact")
    assert predictor.warnings == []
    assert predictor.config.zero_shot.templates == ("a photo of a {}.",)
    assert predictor.scale == pytest.approx(100, rel=1e-3)
    for vectors in (predictor.image_vectors(some), predictor.class_vectors(names)):
        assert vectors.mean(dim=0).norm() < 0.3  # of length 1 each: they point everywhere
