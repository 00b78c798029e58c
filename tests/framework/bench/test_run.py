"""A whole bench with real processes: training, evaluating, speed, the contest's conditions."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.bench import schedule
from engine.bench.compare import compare
from engine.bench.offline import KERNEL
from engine.bench.run import Bench, read_leaderboard, run_suite, side_of_entry
from engine.bench.suite import SuiteSettings
from engine.core.registry import default_registry
from engine.errors import DataError

pytestmark = pytest.mark.slow

TINY = {
    "data.train": {"use": "shapes", "size": 16, "count": 64},
    "data.evaluate": [],
    "model.embed_dim": 16,
    "model.vision": {"use": "small_vit", "image_size": 16, "width": 16, "layers": 1, "heads": 2},
    "model.text.width": 16,
    "model.text.layers": 1,
    "model.text.heads": 2,
    "model.text.vocab_size": 300,
    "train.stages.0.epochs": None,
    "train.stages.0.steps": 6,
    "train.stages.0.batch_size": 16,
}


def suite(root: Path, photographs: Path, entries: Sequence[Any], **settings: Any) -> SuiteSettings:
    shapes = {"use": "shapes", "split": "test", "size": 16, "count": 24}
    plain = {
        "engine": 1, "name": "tried", "jobs": 2, "limits": ["20 kB", "1 MB"], "entries": entries,
        "data": [{"folder": str(photographs)}, {"dataset": shapes}], "set": TINY,
        "measure": {"draws": 500}, **settings,
    }  # fmt: skip
    return SuiteSettings.model_validate(plain, context={"registry": default_registry()})


def entries(root: Path, folder: Path) -> list[dict[str, Any]]:
    """One of each sort, and one of each that must fail."""
    sber = str(root / "configs" / "tiny" / "sber.yaml")
    right = {name: {str(i): i % 3 for i in range(9)} for name in ("one", "two")}
    shapes = {"shapes": dict.fromkeys(map(str, range(24)), 0)}
    (folder / "theirs.json").write_text(json.dumps({**right, **shapes}))
    (folder / "gaps.json").write_text(json.dumps({**right, "one": {"0": 0}, **shapes}))
    return [
        {"name": "sber", "config": sber, "seeds": [0, 1]},
        {"name": "theirs", "predictions": str(folder / "theirs.json")},
        {"name": "gaps", "predictions": str(folder / "gaps.json")},
        {"name": "missing", "config": "nowhere.yaml"},
        {"name": "wrong", "config": sber, "set": {"train.stages.0.optimizer.lr": 1e30}},
    ]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def photographs(small: Path) -> Path:
    from PIL import Image

    root = small / "photographs"
    truth = {}
    for name in ("one", "two"):
        (root / name / "img").mkdir(parents=True)
        (root / name / "classes.json").write_text('["красный", "зелёный", "синий"]')
        for i in range(9):
            colour = [(200, i, 0), (0, 200, i), (i, 0, 200)][i % 3]
            Image.new("RGB", (20, 20), colour).save(root / name / "img" / f"{i}.png")
        truth[name] = {str(i): i % 3 for i in range(9)}
    (root / "gt.json").write_text(json.dumps(truth))
    return root


@pytest.fixture(scope="module")
def done(small: Path, photographs: Path, warm_workers: None) -> Bench:
    root = Path(__file__).resolve().parents[3]
    whole = suite(root, photographs, entries(root, small), measure={"draws": 500, "contest": True})
    return run_suite(whole, small / "out")


def test_every_entry_is_a_row(done: Bench) -> None:
    assert [row.entry for row in done.leaderboard.rows] == [
        "sber",
        "theirs",
        "gaps",
        "missing",
        "wrong",
    ]
    sber = done.leaderboard.row("sber")
    assert sber.seeds == (0, 1)
    assert set(sber.datasets) == {"one", "two", "shapes"}
    assert done.leaderboard.row("theirs").datasets["one"].accuracy == 100
    assert done.leaderboard.row("theirs").model_size is None


def test_failures_say_why_and_stop_nobody(done: Bench) -> None:
    whys = {row.entry: row.failed.get(0, "") for row in done.leaderboard.rows}
    assert "`one`: 8 of 9 images have no answer, the first is `1`" in whys["gaps"]
    assert "nowhere.yaml: no such file" in whys["missing"]
    assert "the loss `contrastive` is nan" in whys["wrong"]
    assert "logs/wrong.0.evaluate.log)" in whys["wrong"]
    failed = [each for each in done.leaderboard.results if each.failure is not None]
    assert {each.entry for each in failed} == {"gaps", "missing", "wrong"}


def test_bytes_are_exact_and_limits_kept(done: Bench, small: Path) -> None:
    sber = done.leaderboard.row("sber")
    assert sber.model_size is not None
    (model,) = (small / "out" / "models").glob("sber.0.*/model/model.safetensors")
    assert sber.model_size.bytes == model.stat().st_size
    strict, megabyte, _ = done.leaderboard.size_buckets
    assert strict.over == ("sber",)
    assert [place.entry for place in megabyte.ranks] == ["sber"]


def test_speed_and_the_contest_are_measured(done: Bench, small: Path) -> None:
    sber = done.leaderboard.row("sber")
    assert sber.speed is not None
    assert sber.speed.image_ms > 0
    assert sber.speed.images_per_second >= 1000 / sber.speed.image_ms * 0.5
    # Both seeds have one architecture, so one process measured.
    assert [each.name for each in (small / "out" / "logs").glob("sber.*.speed.log")] == [
        "sber.0.speed.log"
    ]
    assert len(list((small / "out" / "results").glob("sber.*.speed.json"))) == 2
    assert sber.contest is not None
    assert sber.contest.images == 9 + 9 + 24
    assert sber.contest.sockets == KERNEL or not sys.platform.startswith("linux")


def test_rows_say_how_they_were_made_and_what_they_saw(done: Bench) -> None:
    result = next(each for each in done.leaderboard.results if each.entry == "sber")
    assert result.provenance.trained
    assert result.provenance.train_seconds is not None
    assert result.provenance.seed == 0
    assert "seed=0" in result.provenance.overrides
    shapes = result.dataset("shapes")
    assert shapes is not None
    assert shapes.notes == ("trained on another part of the same data set",)
    assert {"text_to_image_r1", "calibration_error"} <= shapes.metrics.keys()
    assert shapes.calibration
    assert "text_to_image_r1" not in result.dataset("one").metrics  # type: ignore[union-attr]


def test_a_second_run_starts_no_process_for_what_is_done(
    done: Bench, small: Path, photographs: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(schedule, "start", refuse)
    good = [each for each in entries(root, small) if each["name"] in ("sber", "theirs")]
    measure = {"draws": 500, "contest": True}
    again = run_suite(suite(root, photographs, good, measure=measure), small / "out")
    assert again.leaderboard.row("sber") == done.leaderboard.row("sber")


def test_other_data_do_not_train_again(
    done: Bench, small: Path, photographs: Path, root: Path
) -> None:
    models = sorted((small / "out" / "models").glob("*/model/model.safetensors"))
    times = [path.stat().st_mtime_ns for path in models]
    one = [each for each in entries(root, small) if each["name"] == "sber"]
    data = [{"folder": str(photographs), "only": ["one"]}]
    measure = {"speed": False, "draws": 500}
    found = run_suite(suite(root, photographs, one, data=data, measure=measure), small / "out")
    assert set(found.leaderboard.row("sber").datasets) == {"one"}
    assert [path.stat().st_mtime_ns for path in models] == times


def test_the_board_is_read_back_and_its_entries_compared(done: Bench, small: Path) -> None:
    from engine.bench.tables import to_json

    (small / "out" / "leaderboard.json").write_text(to_json(done.leaderboard), encoding="utf-8")
    assert (
        read_leaderboard(small / "out").row("sber").accuracy
        == done.leaderboard.row("sber").accuracy
    )
    assert side_of_entry(small / "out", "sber").seeds == 2
    sides = [side_of_entry(small / "out", name) for name in ("sber", "theirs")]
    tested = compare(*sides, draws=200).to_json()["metrics"]
    assert set(tested) >= {"accuracy", "mean_recall"}
    assert all(0 <= tested[name]["p"] <= 1 for name in ("accuracy", "mean_recall"))
    with pytest.raises(DataError, match=r"no entry `sbr` with answers \(did you mean `sber`"):
        side_of_entry(small / "out", "sbr")


def test_one_bench_at_a_time_in_a_folder(small: Path, photographs: Path, root: Path) -> None:
    import fcntl

    out = small / "busy"
    out.mkdir()
    with (out / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another bench is running"):
            run_suite(suite(root, photographs, entries(root, small)), out)


def test_a_killed_bench_goes_on_with_the_same_result(
    small: Path, photographs: Path, root: Path, warm_workers: None
) -> None:
    sber = str(root / "configs" / "tiny" / "sber.yaml")
    longer = {"train.stages.0.steps": 400, "train.save_steps": 5}
    entry = {"name": "sber", "config": sber, "set": longer}
    whole = suite(root, photographs, [entry], measure={"speed": False, "draws": 500})
    path = small / "killed.json"
    path.write_text(whole.model_dump_json(by_alias=True), encoding="utf-8")
    out = small / "killed"
    bench = subprocess.Popen(
        [sys.executable, "-m", "engine", "bench", str(path), "--folder", str(out)],
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 240
    while not list(out.glob("models/sber.*/checkpoints/*/*")) and time.monotonic() < until:
        assert bench.poll() is None
        time.sleep(0.05)
    bench.send_signal(signal.SIGKILL)
    bench.wait()
    (folder,) = (path for path in out.glob("models/sber.*") if path.is_dir())
    assert not (folder / "model").exists(), "the training was over before it was killed"
    gone_on = run_suite(whole, out)
    undisturbed = run_suite(whole, small / "undisturbed")
    assert gone_on.leaderboard.row("sber").failed == {}
    assert gone_on.answers == undisturbed.answers
    weights = [
        next((each / "models").glob("sber.*/model/model.safetensors")).read_bytes()
        for each in (out, small / "undisturbed")
    ]
    assert weights[0] == weights[1]
