"""`engine predict` and `engine eval` as a user runs them."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from engine.evaluate.predictor import Predictor

Colours = dict[str, Image.Image]
Engine = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def colour_model(monkeypatch: pytest.MonkeyPatch, predictor: Predictor) -> None:
    """The artifact MODEL is the colour model."""
    from engine.evaluate import loading as module

    real = module.load
    fake = lambda path, **how: predictor if Path(path).name == "MODEL" else real(path, **how)  # noqa: E731
    monkeypatch.setattr(module, "load", fake)


@pytest.fixture
def data(tmp_path: Path, colours: Colours) -> Path:
    """Two data sets: all seven colours three times each with one label wrong, and two colours."""
    names = list(colours)
    truth: dict[str, dict[str, int]] = {"all": {}, "two": {}}
    for folder, classes, copies in (("all", names, 3), ("two", names[:2], 1)):
        (tmp_path / "data" / folder / "img").mkdir(parents=True)
        text = json.dumps(classes, ensure_ascii=False)
        (tmp_path / "data" / folder / "classes.json").write_text(text, encoding="utf-8")
        for index, name in enumerate(classes):
            for copy in range(copies):
                image = f"{(7 * index + 3 * copy) % 10}-{index}-{copy}"
                path = tmp_path / "data" / folder / "img" / f"{image}.jpg"
                colours[name].save(path, quality=95)
                truth[folder][image] = index
    truth["all"]["0-0-0"] = 6
    (tmp_path / "data" / "gt.json").write_text(json.dumps(truth), encoding="utf-8")
    return tmp_path / "data"


def read(path: str) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = json.loads(Path(path).read_text(encoding="utf-8"))
    return found


def test_predictions_are_the_contests_file(engine: Engine, data: Path) -> None:
    code, out, err = engine("predict", "MODEL", data, "-o", "deep/er/p.json")
    assert code == 0, err
    answers, truth = read("deep/er/p.json"), read(str(data / "gt.json"))
    assert list(answers) == ["all", "two"]
    for name in answers:
        assert list(answers[name]) == list(truth[name])
    wrong = [image for image, index in truth["all"].items() if answers["all"][image] != index]
    assert wrong == ["0-0-0"]
    assert answers["two"] == truth["two"]
    assert "21 of 21 images" in out
    assert "RANDOM weights" in err
    assert list(Path("deep/er").iterdir()) == [Path("deep/er/p.json")]


def test_without_right_answers_images_are_sorted_by_name(engine: Engine, data: Path) -> None:
    (data / "gt.json").unlink()
    code, _, err = engine("predict", "MODEL", data, "-o", "p.json")
    assert code == 0, err
    for name, answers in read("p.json").items():
        assert list(answers) == sorted(path.stem for path in (data / name / "img").iterdir())


def test_json_is_the_only_thing_on_stdout(engine: Engine, data: Path) -> None:
    (data / "all" / "img" / "5-5-5.png").write_bytes(b"GIF89a, cut short")
    code, out, err = engine("predict", "MODEL", data, "-o", "p.json", "--json")
    assert code == 0, err
    summary = json.loads(out)
    assert (summary["images"], summary["broken"]) == (24, 1)
    (broken,) = summary["datasets"][0]["broken"]
    assert broken["id"] == "5-5-5"
    assert "5-5-5" not in read("p.json")["all"]
    assert "1 broken images have no answer" in err
    assert "5-5-5" in err


def test_limit_dataset_batches_and_threads(engine: Engine, data: Path) -> None:
    import torch

    before = torch.get_num_threads()
    try:
        code, _, err = engine(
            "predict", "MODEL", data, "-o", "p.json", "--limit-samples", 5, "--dataset", "all",
            "--batch-size", 2, "--workers", 3, "--threads", 1,
        )  # fmt: skip
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert code == 0, err
    answers = read("p.json")
    assert list(answers) == ["all"]
    assert list(answers["all"]) == sorted(p.stem for p in (data / "all" / "img").iterdir())[:5]


def test_any_folder_with_class_names(engine: Engine, tmp_path: Path, colours: Colours) -> None:
    photos = tmp_path / "фото" / "лето"
    photos.mkdir(parents=True)
    for name in ("красный", "синий"):
        colours[name].save(photos / f"{name}.png")
    (tmp_path / "фото" / "bad.jpg").write_bytes(b"no")
    shared = ("predict", "MODEL", tmp_path / "фото", "--classes", "синий,красный")
    code, _, err = engine(*shared, "--top", 2, "-o", "a.csv", "--html", "a.html")
    assert code == 0, err
    assert "1 broken" in err
    rows = list(csv.DictReader(io.StringIO(Path("a.csv").read_text(encoding="utf-8"))))
    assert [(row["image"], row["class"]) for row in rows] == [
        ("bad.jpg", ""), ("лето/красный.png", "красный"), ("лето/красный.png", "синий"),
        ("лето/синий.png", "синий"), ("лето/синий.png", "красный"),
    ]  # fmt: skip
    assert "лето/синий.png" in Path("a.html").read_text(encoding="utf-8")
    code, _, err = engine(*shared, "-o", "a.json")
    assert code == 0, err
    (found,) = json.loads(Path("a.json").read_text(encoding="utf-8"))["datasets"]
    assert [len(each.get("answers", ())) for each in found["images"]] == [0, 1, 1]
    assert found["images"][1]["answers"][0]["index"] == 1


@pytest.mark.parametrize(
    ("more", "words"),
    [(("--classes", "a", "--truth", "x"), "no meaning beside --classes"),
     (("--classes", "a,a"), "twice"), (("-o", "x.xml"), "not .xml"),
     (("--classes", "a", "-o", "FOLDER/1.csv"), "is read by this command")],
)  # fmt: skip
def test_folders_with_mistakes(
    engine: Engine, tmp_path: Path, colours: Colours, more: tuple[str, ...], words: str
) -> None:
    (tmp_path / "FOLDER").mkdir()
    colours["красный"].save(tmp_path / "FOLDER" / "1.png")
    (tmp_path / "FOLDER" / "1.csv").write_text("mine")
    code, _, err = engine("predict", "MODEL", "FOLDER", "-o", "a.csv", *more)
    assert code == 2
    assert words in " ".join(err.split())


def test_the_contests_layout_as_csv(engine: Engine, data: Path) -> None:
    code, _, err = engine("predict", "MODEL", data, "-o", "p.csv")
    assert code == 0, err
    rows = list(csv.DictReader(io.StringIO(Path("p.csv").read_text(encoding="utf-8"))))
    assert len(rows) == 23
    assert {row["dataset"] for row in rows} == {"all", "two"}


def test_one_folder_alone(engine: Engine, data: Path) -> None:
    assert engine("predict", "MODEL", data / "two", "-o", "p.json")[0] == 0
    assert list(read("p.json")) == ["two"]


def test_eval_scores_a_model(engine: Engine, data: Path) -> None:
    code, out, err = engine("eval", "MODEL", data, "--json")
    assert code == 0, err
    score = json.loads(out)
    assert score["metrics"]["accuracy"]["value"] == (100 * 20 / 21 + 100) / 2
    assert score["name"] == "colours"
    everything, two = score["datasets"]
    assert (everything["images"], everything["correct"], everything["classes"]) == (21, 20, 7)
    values = {name: each["value"] for name, each in everything["metrics"].items()}
    assert values["top5"] >= values["accuracy"] == 100 * 20 / 21
    assert 0 <= values["calibration_error"] <= 100
    assert score["declarations"]["calibration_error"]["higher_is_better"] is False
    assert score["declarations"]["accuracy"]["unit"] == "%"
    assert everything["recall"][6] == 75.0
    assert "top5" not in two["metrics"]
    assert two["metrics"]["accuracy"]["high"] == 100.0


def test_a_cache_spares_the_vision_tower(
    engine: Engine, data: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.contracts.settings import PluginRef
    from engine.core.registry import default_registry

    plugin = default_registry().get(
        "vision_tower", "small_vit"
    )  # gives the store's name its plugin
    use = PluginRef(plugin, plugin.load_settings()())
    monkeypatch.setattr(predictor.config.model, "vision", use)
    plain = json.loads(engine("eval", "MODEL", data, "--json")[1])
    assert not Path("kept").exists()
    rows = []
    for _ in range(2):
        code, out, err = engine("eval", "MODEL", data, "--cache", "kept", "--json")
        assert code == 0, err
        found = json.loads(out)
        assert found["datasets"] == plain["datasets"]
        rows.append([each["tower_rows"] for each in found["runs"]])
    assert rows[0][0] > 0
    assert rows[1] == [0, 0]
    code, out, err = engine("predict", "MODEL", data, "-o", "p.json", "--cache", "kept")
    assert code == 0, err
    assert "0 of 23 images ran through the vision tower" in out
    code, out, err = engine("eval", "MODEL", data, "--cache", "kept")
    assert "0 of 23 images ran through the vision tower" in out


def test_eval_prints_a_table(engine: Engine, data: Path) -> None:
    code, out, err = engine("eval", "MODEL", data)
    assert code == 0, err
    for words in ("data set", "95 % interval", "mean recall", "95.24", "97.62", "Wilson"):
        assert words in out
    assert f"mean accuracy {(100 * 20 / 21 + 100) / 2!r} %" in out
    assert "RANDOM weights" in err


def test_scoring_files_gives_the_same_score(engine: Engine, data: Path) -> None:
    whole = json.loads(engine("eval", "MODEL", data, "-o", "p.json", "--json")[1])
    arguments = ("eval", "--predictions", "p.json", "--truth", data / "gt.json", "--json")
    code, out, err = engine(*arguments)
    assert code == 0, err
    score = json.loads(out)
    assert score["metrics"]["accuracy"] == whole["metrics"]["accuracy"]
    assert score["metrics"]["mean_recall"] == whole["metrics"]["mean_recall"]
    assert "calibration_error" not in score["metrics"]  # a file of answers has no probabilities
    code, out, err = engine(*arguments, "--dataset", "two")
    assert json.loads(out)["metrics"]["accuracy"]["value"] == 100.0


def test_missing_answers_count_as_wrong_and_are_reported(engine: Engine, data: Path) -> None:
    (data / "two" / "img" / "0-0-0.jpg").write_bytes(b"no")
    code, out, err = engine("eval", "MODEL", data, "--dataset", "two", "--json", "-o", "p.json")
    assert code == 0, err
    assert json.loads(out)["metrics"]["accuracy"]["value"] == 50.0
    assert "1 of 2 images have no answer and count as wrong" in err
    assert "broken" in err
    code, out, err = engine("eval", "--predictions", "p.json", "--truth", data / "gt.json")
    assert code == 0, err
    assert "mean accuracy 25.0 %" in out
    assert "21 of 21 images have no answer" in err


def test_images_that_the_truth_does_not_know(engine: Engine, data: Path) -> None:
    truth = read(str(data / "gt.json"))
    del truth["two"]["0-0-0"]
    truth["elsewhere"] = {"x": 0}
    Path("t.json").write_text(json.dumps(truth), encoding="utf-8")
    code, out, err = engine("eval", "MODEL", data, "--truth", "t.json", "--json")
    assert code == 0, err
    score = json.loads(out)
    assert score["unlabelled"] == 1
    assert score["datasets"][1]["images"] == 1
    assert "not in the mean: elsewhere" in err


def bad(name: str) -> tuple[object, ...]:
    Path("unknown.json").write_text('{"two": {"nobody": 0}}', encoding="utf-8")
    Path("class.json").write_text('{"two": {"0-0-0": "1"}}', encoding="utf-8")
    Path("set.json").write_text('{"twо": {}}', encoding="utf-8")
    predict = ("predict", "MODEL", "data", "-o")
    file = ("eval", "--truth", "data/gt.json", "--predictions")
    return {
        "no truth": ("eval", "MODEL", "data/two"),
        "nothing": ("eval",),
        "only artifact": ("eval", "MODEL"),
        "no truth for file": ("eval", "--predictions", "class.json"),
        "both": ("eval", "MODEL", "data", *file[1:], "class.json"),
        "unknown image": (*file, "unknown.json"),
        "not an index": (*file, "class.json"),
        "unknown set": (*file, "set.json"),
        "unknown only": (*file, "data/gt.json", "--dataset", "tow"),
        "truth of others": ("eval", "MODEL", "data/two", "--truth", "set.json"),
        "output is a folder": (*predict, "data"),
        "output below a file": (*predict, "data/gt.json/p.json"),
        "unknown data set": (*predict, "p.json", "--dataset", "tow"),
        "no data": ("predict", "MODEL", "nowhere", "-o", "p.json"),
        "no artifact": ("predict", "nothing", "data", "-o", "p.json"),
        "cache is a file": (*predict, "p.json", "--cache", "data/gt.json"),
        "cache for a file": (*file, "class.json", "--cache", "kept"),
        "no truth file": (*predict, "p.json", "--html", "g.html", "--truth", "none.json"),
    }[name]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no truth", "--truth gt.json"),
        ("nothing", "engine eval ARTIFACT DATA_DIR"),
        ("only artifact", "engine eval ARTIFACT DATA_DIR"),
        ("no truth for file", "--truth gt.json"),
        ("both", "ARTIFACT, DATA_DIR"),
        ("unknown image", "`nobody`"),
        ("not an index", "not a class index"),
        ("unknown set", "which the truth does not know"),
        ("unknown only", "did you mean `two`"),
        ("truth of others", "no answer for two"),
        ("output is a folder", "is a folder"),
        ("output below a file", "is not a folder"),
        ("unknown data set", "did you mean `two`"),
        ("no data", "nowhere"),
        ("no artifact", "nothing"),
        ("cache is a file", "cannot be used"),
        ("cache for a file", "--cache has no use"),
        ("no truth file", "none.json"),
    ],
)
def test_bad_input_is_reported_on_one_screen(
    engine: Engine, data: Path, name: str, words: str
) -> None:
    code, out, err = engine(*bad(name))
    assert code == 2, (out, err)
    assert words in err
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 24
    assert not Path("p.json").exists()


def test_the_page(engine: Engine, data: Path) -> None:
    code, _, err = engine(
        "predict", "MODEL", data, "-o", "p.json", "--html", "g.html", "--pictures", 14
    )
    assert code == 0, err
    page = Path("g.html").read_text(encoding="utf-8")
    assert page.count("<figure") == 7 + 2
    assert "97.6<small>%" in page


def test_scoring_files_imports_no_torch(data: Path, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text((data / "gt.json").read_text(encoding="utf-8"))
    code = (
        "import sys\nfrom engine.cli.main import run\n"
        "try:\n    run()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "heavy = {'torch', 'transformers', 'open_clip', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    arguments = ["eval", "--predictions", tmp_path / "p.json", "--truth", data / "gt.json"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "mean accuracy 100.0 %" in done.stdout


def test_the_contests_own_photographs(engine: Engine, contest_sample: Path) -> None:
    truth = contest_sample / "gt.json"
    code, out, err = engine("eval", "MODEL", contest_sample, "-o", "p.json", "--json")
    assert code == 0, err
    whole = json.loads(out)
    assert whole["runs"][0]["broken"] == []
    assert whole["datasets"][0]["images"] == 570
    answers, labels = read("p.json"), read(str(truth))
    assert answers.keys() == labels.keys()
    assert answers["caltech101"].keys() == labels["caltech101"].keys()
    assert list(answers["caltech101"]) == list(labels["caltech101"])
    right = sum(answers["caltech101"][i] == label for i, label in labels["caltech101"].items())
    code, out, err = engine("eval", "--predictions", "p.json", "--truth", truth, "--json")
    assert code == 0, err
    assert (
        json.loads(out)["metrics"]["accuracy"]["value"]
        == whole["metrics"]["accuracy"]["value"]
        == 100 * right / 570
    )


@pytest.mark.slow
def test_a_built_model_on_the_contests_own_photographs(
    engine: Engine, contest_sample: Path, root: Path
) -> None:
    config = root / "configs" / "tiny" / "clip_openai.yaml"
    code, _, err = engine("build", config, "-o", "built")
    assert code == 0, err
    code, out, err = engine(
        "predict", "built", contest_sample, "-o", "p.json", "--html", "g.html", "--json"
    )
    assert code == 0, err
    assert json.loads(out)["images"] == 570
    labels = read(str(contest_sample / "gt.json"))
    assert read("p.json")["caltech101"].keys() == labels["caltech101"].keys()
    assert Path("g.html").stat().st_size > 100_000
    assert "RANDOM" in err


@pytest.mark.parametrize("part", ["text", "vision", "scale"])
def test_numbers_that_are_not_finite_give_no_answer(
    engine: Engine, data: Path, predictor: Predictor, part: str
) -> None:
    """Class 0 for every image would score 100 % against a truth of zeros."""
    import torch

    model = predictor.model
    with torch.no_grad():
        if part == "text":
            model.text.table.weight[2] = float("nan")  # type: ignore[union-attr,operator,index]
        elif part == "scale":
            model.logit_scale.fill_(float("inf"))
        else:
            project = model.vision_projection.project
            model.vision_projection.project = lambda rows: project(rows) / 0.0  # type: ignore[method-assign]
    words = {"text": "зелёный", "vision": "0-0-0", "scale": "logit_scale"}[part]
    truth = {name: dict.fromkeys(each, 0) for name, each in read(str(data / "gt.json")).items()}
    Path("zeros.json").write_text(json.dumps(truth), encoding="utf-8")
    for command in (
        ("predict", "MODEL", data, "-o", "p.json", "--html", "p.html"),
        ("eval", "MODEL", data, "--truth", "zeros.json", "-o", "p.json"),
        ("eval", "MODEL", data, "--truth", "zeros.json", "--json"),
    ):
        code, out, err = engine(*command)
        assert code == 2, (out, err)
        assert words in err
        assert "100" not in out
        assert not Path("p.json").exists()
        assert not Path("p.html").exists()


def test_classes_that_cannot_be_reported_apart(
    engine: Engine, data: Path, predictor: Predictor
) -> None:
    from engine.core.config.schema import ZeroShotSettings

    names = [f"красный {'и ' * 20}{name}" for name in "абв"]
    for folder, classes in (("two", ["синий", *names]), ("all", ["красный", "синий"])):
        text = json.dumps(classes, ensure_ascii=False)
        (data / folder / "classes.json").write_text(text, encoding="utf-8")
    (data / "gt.json").unlink()
    truth = {"two": {"0-0-0": 1, "7-1-0": 0}, "all": {"0-0-0": 0}}
    Path("t.json").write_text(json.dumps(truth), encoding="utf-8")
    for command in (
        ("predict", "MODEL", data, "-o", "p.json", "--json"),
        ("eval", "MODEL", data, "--truth", "t.json", "--json"),
    ):
        code, out, err = engine(*command)
        assert code == 0, err
        assert "data set `two`: classes that the model cannot tell apart (`красный" in err
        assert "truncated" in err
        report = json.loads(out)
        (note,) = [
            each for run in report.get("runs", report.get("datasets")) for each in run["notes"]
        ]
        assert "max_tokens" in note
    long = "очень " * 20 + "{}"
    predictor.config.zero_shot = ZeroShotSettings(templates=(long,))
    for command in (
        ("predict", "MODEL", data, "-o", "q.json"),
        ("eval", "MODEL", data, "--truth", "t.json"),
    ):
        code, out, err = engine(*command)
        assert code == 2, out
        assert "cannot tell the 2 classes apart" in err
        assert "zero_shot.templates" in err
    assert not Path("q.json").exists()


def test_probabilities_of_each_class_by_itself(
    engine: Engine, data: Path, predictor: Predictor
) -> None:
    """Only a model with a bias has them; the answers stay, the page's bars do not."""
    code, _, err = engine("predict", "MODEL", data, "-o", "p.json", "--probabilities", "sigmoid")
    assert code == 2
    assert "has no logit_bias" in err
    assert not Path("p.json").exists()
    predictor.model.logit_bias = torch.nn.Parameter(torch.tensor(-30.0))
    reports = {}
    for kind in ("softmax", "sigmoid"):
        code, out, err = engine("eval", "MODEL", data, "-o", f"{kind}.json", "--html",
                                f"{kind}.html", "--probabilities", kind, "--json")  # fmt: skip
        assert code == 0, err
        reports[kind] = json.loads(out)
        assert [run["probabilities"] for run in reports[kind]["runs"]] == [kind, kind]
    assert read("softmax.json") == read("sigmoid.json")
    assert "among all classes" in Path("softmax.html").read_text(encoding="utf-8")
    page = Path("sigmoid.html").read_text(encoding="utf-8")
    assert "of each class by itself" in page
    assert "0.1 %" in page  # exp(3) * cosine - 30: hardly anything
    code, _, err = engine("predict", "MODEL", data, "-o", "x.json", "--probabilities", "chance")
    assert code == 2
    assert "'chance' is not one of" in err
