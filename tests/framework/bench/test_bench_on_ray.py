"""The same leaderboard from a Ray cluster, a local one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.bench.on_ray import run_on_ray
from engine.bench.run import run_suite
from engine.bench.suite import SuiteSettings
from engine.core.registry import default_registry

pytestmark = pytest.mark.slow


def suite(root: Path, photographs: Path, folder: Path) -> SuiteSettings:
    truth = json.loads((photographs / "gt.json").read_text())
    (folder / "theirs.json").write_text(json.dumps(truth))
    tiny = {
        "data.train": {"use": "shapes", "size": 16, "count": 32}, "model.embed_dim": 8,
        "model.vision": {"use": "small_vit", "image_size": 16, "width": 8, "layers": 1, "heads": 1},
        "model.text": {"width": 8, "layers": 1, "heads": 1, "vocab_size": 300},
        "train.stages.0.epochs": 1, "train.stages.0.batch_size": 16,
    }  # fmt: skip
    sber = str(root / "configs" / "tiny" / "sber.yaml")
    plain: dict[str, Any] = {
        "engine": 1, "name": "ray", "set": tiny, "measure": {"speed": False, "draws": 200},
        "entries": [
            {"name": "sber", "config": sber},
            {"name": "theirs", "predictions": str(folder / "theirs.json")},
            {"name": "missing", "config": "nowhere.yaml"},
            {"name": "gaps", "predictions": str(photographs / "two" / "classes.json")},
        ],
        "data": [{"folder": str(photographs)}],
    }  # fmt: skip
    return SuiteSettings.model_validate(plain, context={"registry": default_registry()})


def test_ray_gives_the_board_that_this_machine_gives(
    root: Path, photographs: Path, tmp_path: Path, ray_cluster: Any
) -> None:
    whole = suite(root, photographs, tmp_path)
    there = run_suite(whole, tmp_path / "ray", run=run_on_ray)
    here = run_suite(whole, tmp_path / "here")
    assert there.answers["theirs"] == here.answers["theirs"]
    for name, ours in here.answers["sber"].datasets.items():
        found = there.answers["sber"].datasets[name]
        assert (found.ids, found.labels, found.classes) == (ours.ids, ours.labels, ours.classes)
        # Ray's workers lay memory out in another way, which rounds sums differently.
        for mine, other in zip(ours.probabilities, found.probabilities, strict=True):
            assert other == pytest.approx(mine, abs=0.01)
    failed = {row.entry: dict(row.failed) for row in there.leaderboard.rows if row.failed}
    assert failed == {row.entry: dict(row.failed) for row in here.leaderboard.rows if row.failed}
    assert set(failed) == {"missing", "gaps"}
    assert failed["gaps"][0].endswith("(log: logs/gaps.0.evaluate.log)")
    assert "classes.json holds no predictions" in failed["gaps"][0]
