"""The page of curves: axes, stages, chance, several runs, and names from outside."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from engine.errors import TrainingError
from engine.train.curves import RunCurves, charts, page, read_run, unique
from engine.train.history import Story
from engine.train.names import CONFIG, HISTORY

HOSTILE = "<script>alert(1)</script>\u202e"


def story(*, stages: tuple[str, ...] = ("first", "second"), **more: Any) -> Story:
    """Two stages of ten steps, each with a loss and an accuracy."""
    points = [
        {"step": step, "stage": step // 11, "epoch": 0, "loss": 3 - step / 10, "lr": 1e-3,
         "loss_a": 2.0, "samples_per_second": 100.0, "seconds_left": 1.0, "scale": 14.0}
        for step in range(1, 21)
    ]  # fmt: skip
    points.append({"step": 20, "stage": 1, "accuracy": 40.0, "chance": 12.5, **more})
    ended = [
        {"finished_stage": i, "name": name, "step": 10 * (i + 1), "epochs": 1, "steps": 10,
         "parameters": 5, "seconds": 1.0, "samples_per_second": 3.0, "loss": 1.0,
         "scores": {"accuracy": 40.0}}
        for i, name in enumerate(stages)
    ]  # fmt: skip
    notes = [(10 * i, f"stage {i + 1}, {name}: 10 steps") for i, name in enumerate(stages)]
    return Story(points, ended, notes)


CONFIGURED = {"name": "little", "seed": 3, "data": {"train": {"use": "shapes"}},
              "train": {"stages": [{"batch_size": 8}]}}  # fmt: skip


def test_axes_stages_and_chance_are_named() -> None:
    html = page([RunCurves("mine", story(), CONFIGURED, 12_300_000)])
    for word in (
        ">step<", ">loss<", ">first<", ">second<", "chance, 12.5 %", "ln 8", "12.3 MB",
        "little (seed 3)", "shapes", "torch", ">samples a second<",
    ):  # fmt: skip
        assert word in html, word
    assert ">0%<" in html
    assert ">100%<" in html  # accuracy is drawn on the whole scale
    assert f"{math.log(8):.3f}" not in html


def test_the_reference_of_a_loss_that_is_far_away_is_left_out() -> None:
    far = {"train": {"stages": [{"batch_size": 10**6}]}}
    assert "ln 1000000" not in page([RunCurves("mine", story(), far)])


def test_several_runs_share_their_charts() -> None:
    alone = charts([RunCurves("a", story())])
    both = charts([RunCurves("a", story()), RunCurves("b", story(stages=("other",)))])
    assert [title for title, _ in alone] == [title for title, _ in both]
    loss = str(both[0][1])
    assert "<bdi>a</bdi>" in loss
    assert "<bdi>b</bdi>" in loss
    assert ">second<" not in loss  # their stages differ
    html = page([RunCurves("a", story()), RunCurves("a", story())])
    assert "a (2)" in html
    assert html.count('<th scope="row">') == 4


def test_a_number_of_a_plugin_has_its_chart() -> None:
    titles = [title for title, _ in charts([RunCurves("a", story(temperature=3.0))])]
    assert "temperature" in titles
    assert not {"step", "stage", "epoch", "chance", "seconds_left"} & set(titles)


def test_names_from_outside_are_escaped() -> None:
    found = story(stages=(HOSTILE, HOSTILE), **{HOSTILE: 1.0})
    html = page([RunCurves(HOSTILE, found, {"name": HOSTILE, "data": {"train": HOSTILE}})])
    assert "<script" not in html
    assert "\u202e" not in html


def test_a_run_that_has_not_begun(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"history\.jsonl"):
        read_run(tmp_path)
    (tmp_path / HISTORY).write_text("")
    assert "No stage is over yet" in page([read_run(tmp_path)])


@pytest.mark.parametrize(
    "config", ["", "[1, 2]", "name: 3\ntrain: {stages: 7}\ndata: []",
               "train: {stages: [{batch_size: x}]}",
               "name: [", "\x00"],
)  # fmt: skip
def test_any_config_of_a_run(tmp_path: Path, config: str) -> None:
    (tmp_path / HISTORY).write_text(json.dumps({"step": 1, "stage": 0, "loss": 1.0}) + "\n")
    (tmp_path / CONFIG).write_text(config)
    assert "<svg" in page([read_run(tmp_path)])


def test_equal_names_are_told_apart() -> None:
    assert unique(["a", "b", "a", "a"]) == ["a", "b", "a (2)", "a (3)"]
