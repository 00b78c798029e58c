"""Other programs' layouts."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from engine.bench.interchange import (
    clip_benchmark_json,
    clip_benchmark_name,
    contest_predictions,
)
from engine.evaluate.scores import score


def test_clip_benchmark_gets_its_own_keys(contest: Any) -> None:
    result = next(r for r in contest.leaderboard.results if r.entry == "sber" and r.seed == 1)
    found = clip_benchmark_json(result, contest.leaderboard.declarations)
    assert [(each["dataset"], each["task"]) for each in found] == [
        ("shapes", "zeroshot_classification"),
        ("shapes", "zeroshot_retrieval"),
        ("digits", "zeroshot_classification"),
        ("caltech", "zeroshot_classification"),
    ]
    for each in found:
        assert list(each) == ["dataset", "model", "pretrained", "task", "metrics", "language"]
        assert (each["model"], each["pretrained"], each["language"]) == ("sber", "seed1", "ru")
        assert json.loads(json.dumps(each))["dataset"] == each["dataset"]
    shapes = result.dataset("shapes")
    assert shapes is not None
    assert found[0]["metrics"] == {
        "acc1": shapes.correct / shapes.images,
        "acc5": shapes.metrics["top5"].value / 100,
        "mean_recall": shapes.metrics["mean_recall"].value / 100,
        "calibration_error": shapes.metrics["calibration_error"].value / 100,  # not theirs
    }
    assert found[1]["metrics"] == {
        f"{theirs}_retrieval_recall@{k}": shapes.metrics[f"{ours}_r{k}"].value / 100
        for theirs, ours in (("image", "text_to_image"), ("text", "image_to_text"))
        for k in (1, 5, 10)
    }


def test_an_unknown_top_5_is_nan_as_there(contest: Any) -> None:
    result = next(r for r in contest.leaderboard.results if r.entry == "rivals")
    found = clip_benchmark_json(result, contest.leaderboard.declarations, language="kk")
    assert all(math.isnan(each["metrics"]["acc5"]) for each in found)
    assert {each["language"] for each in found} == {"kk"}
    assert found[0]["pretrained"] == "rivals.yaml"


def test_english_names_are_reported_from_russian_ones(contest: Any) -> None:
    result = contest.leaderboard.results[0]
    english = result.datasets[0].model_copy(update={"classes": ("cat", "dog", "CD-проигрыватель")})
    found = clip_benchmark_json(
        result.model_copy(update={"datasets": (english,)}), contest.leaderboard.declarations
    )
    assert found[0]["language"] == "ru"
    english = english.model_copy(update={"classes": ("cat", "dog", "3")})
    found = clip_benchmark_json(
        result.model_copy(update={"datasets": (english,)}), contest.leaderboard.declarations
    )
    assert found[0]["language"] == "en"


def test_a_failed_result_gives_nothing(contest: Any) -> None:
    result = next(r for r in contest.leaderboard.results if r.failure)
    assert clip_benchmark_json(result, contest.leaderboard.declarations) == []


def test_predictions_score_as_the_board_says(contest: Any) -> None:
    answers = contest.answers["clip_openai"]
    truth = {
        name: dict(zip(each.ids, each.labels, strict=True))
        for name, each in answers.datasets.items()
    }
    found = score(truth, contest_predictions(answers))
    assert math.isclose(found.accuracy, contest.leaderboard.row("clip_openai").accuracy)
    assert [each.missing for each in found.datasets] == [1, 1, 1]


@pytest.mark.parametrize(
    "dataset",
    ["a/b", "../../etc/passwd", "/etc/passwd", "..", ".hidden", "a\\b", "a\0b", "a\nb", "\x1b[2J",
     "caf\udce9", "ы" * 300, "x" * 100_000, ""],
)  # fmt: skip
def test_names_of_files_stay_in_their_folder(tmp_path: Path, dataset: str) -> None:
    each = {"dataset": dataset, "pretrained": "seed1", "model": "m", "language": "ru", "task": "t"}
    name = clip_benchmark_name(each)
    (tmp_path / name).write_text("{}", encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert not name.startswith(".")
    assert len(name.encode()) <= 205
    assert name != clip_benchmark_name({**each, "task": "other"})
    assert name.isprintable()


def test_names_of_files_are_clip_benchmarks_own() -> None:
    each = {"dataset": "d", "pretrained": "seed1", "model": "m", "language": "ru", "task": "t"}
    assert clip_benchmark_name(each) == "d_seed1_m_ru_t.json"
