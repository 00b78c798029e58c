"""The experiment on clusters: its settings are configs of equal size, and its statistics."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from .scripts import BENCHMARKS, module

report = module("clusters_help_report")


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script as a module, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return module("clusters_help")


@pytest.fixture
def settings() -> Any:
    """clusters_help.yaml."""
    return yaml.safe_load((BENCHMARKS / "clusters_help.yaml").read_text())


def every_job(trainings: ModuleType, settings: Any, seeds: int = 1) -> list[Any]:
    bases = [trainings.base_job(settings, d, s) for s in range(seeds) for d in settings["data"]]
    return [j for base in bases for j in trainings.jobs_of(settings, base, settings["variants"])]


def test_every_training_is_a_config_and_sizes_are_equal(
    trainings: ModuleType, settings: Any
) -> None:
    jobs = every_job(trainings, settings)
    assert len(jobs) == 16
    for data in settings["data"]:
        loaded = [trainings.loaded(job) for job in jobs if job.data == data]
        assert len({config.model.vision.settings.weights.from_ for config in loaded}) == 1
        assert len({config.train.stages[0].epochs for config in loaded}) == 1
    sizes = trainings.check_sizes(settings, jobs)
    for data in settings["data"]:
        assert sizes[f"{data} hard"] == sizes[f"{data} soft"] > 4 * sizes[f"{data} one"]
        assert sizes[f"{data} wide"] == pytest.approx(sizes[f"{data} hard"], rel=0.02)


def test_unequal_sizes_are_refused(trainings: ModuleType, settings: Any) -> None:
    settings["data"]["shapes"]["values"]["wide"] += 20
    with pytest.raises(SystemExit, match="shapes"):
        trainings.check_sizes(settings, every_job(trainings, settings))


@pytest.mark.slow
def test_a_tower_and_the_variants_on_it_are_trained(trainings: ModuleType, settings: Any) -> None:
    shapes = settings["data"]["shapes"]
    shapes["values"] |= {"vision_epochs": 1, "text_epochs": 1}
    for part in ("train", "test", "seen"):
        shapes[part]["count"] = 256
    base = trainings.base_job(settings, "shapes", 0)
    trainings.train_tower(base)
    assert (trainings.base_folder(base.key) / "tower.json").is_file()
    for job in trainings.jobs_of(settings, base, ["one", "hard", "soft"]):
        found = trainings.train_variant(job)
        assert found["steps"] == 2
        assert all(0 <= found[name] <= 100 for name in report.MEASURES)
        assert ("router" in found) == (job.variant != "one")


def test_keys_name_settings_variant_data_and_seed(trainings: ModuleType, settings: Any) -> None:
    keys = [job.key for job in every_job(trainings, settings, seeds=2)]
    assert len(set(keys)) == len(keys) == 32
    assert [job.key for job in every_job(trainings, settings, seeds=2)] == keys
    settings["vision_tower"]["stage"]["batch_size"] = 64  # another tower: all begin elsewhere
    assert not set(keys) & {job.key for job in every_job(trainings, settings, seeds=2)}


def test_scores_over_all_classes_and_within_the_cluster(trainings: ModuleType) -> None:
    clusters = np.array([0, 0, 1, 1, 2])
    labels = np.array([0, 1, 2, 4])
    cosines = np.array(
        [
            [0.9, 0.1, 0.2, 0.3, 0.4],  # right
            [0.2, 0.5, 0.9, 0.0, 0.0],  # wrong, but right within its cluster
            [0.0, 0.0, 0.1, 0.2, 0.0],  # wrong, within its cluster too
            [0.0, 0.0, 0.0, 0.0, 0.1],  # right; alone in its cluster, so not counted there
        ]
    )
    everywhere, inside = trainings.scored(cosines, labels, clusters)
    assert everywhere == pytest.approx((50, 20))
    assert inside == pytest.approx((200 / 3, 50))


def test_a_line_cut_short_is_passed_over(trainings: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    assert trainings.read_results(path) == {}
    path.write_text('{"key": "a", "accuracy": 1}\n{"key": "b", "accu')
    assert trainings.read_results(path) == {"a": {"key": "a", "accuracy": 1}}


def test_comparisons_name_arms(settings: Any) -> None:
    arms = {f"{v} {b}" for v in settings["variants"] for b in settings["batches"]}
    assert {name for pair in settings["comparisons"] for name in pair} == arms


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_lies_between_p_and_bonferroni_and_keeps_the_order(values: list[float]) -> None:
    found = report.holm(values)
    for p, corrected in zip(values, found, strict=True):
        assert p <= corrected <= min(1.0, len(values) * p) or math.isclose(p, corrected)
    order = sorted(range(len(values)), key=lambda i: values[i])
    assert [found[i] for i in order] == sorted(found)


def test_holm_by_hand() -> None:
    assert report.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def rows_of(settings: Any, seeds: int) -> list[dict[str, Any]]:
    draw = random.Random(0)
    return [
        {"data": "shapes", "variant": v, "batches": b, "seed": seed,
         **{f"chance_{m}": 3.0 for m in report.MEASURES},
         **{m: draw.gauss(60, 1) for m in report.MEASURES},
         "accuracy": draw.gauss(30 + 10 * (v == "soft"), 1),
         **({"router": 75.0} if v in ("hard", "soft") else {})}
        for v in settings["variants"] for b in settings["batches"] for seed in range(seeds)
    ]  # fmt: skip


def test_the_report_tests_pairs(settings: Any) -> None:
    rows = rows_of(settings, 5)
    whole = report.Report(settings, rows, {f"shapes {v}": 10 for v in settings["variants"]})
    assert len(whole.comparisons) == 4 * len(settings["comparisons"])
    one = next(c for c in whole.comparisons if (c.first, c.second, c.measure) ==
               ("soft shuffled", "wide shuffled", "accuracy"))  # fmt: skip

    def values(variant: str) -> list[float]:
        return [
            r["accuracy"] for r in rows if (r["variant"], r["batches"]) == (variant, "shuffled")
        ]

    expected = stats.ttest_rel(values("soft"), values("wide"))
    assert (one.p, one.wins, one.seeds) == (pytest.approx(expected.pvalue), 5, 5)
    assert one.low < one.difference < one.high
    significant = whole.figures()["significant"]
    assert significant
    assert all("soft" in each for each in significant)
    json.dumps(whole.figures(), allow_nan=False)
    page = whole.page()
    assert page.count("<circle") == 4 * len(rows)
    assert "nan" not in page


def test_one_seed_compares_nothing(settings: Any) -> None:
    sizes = {f"shapes {v}": 10 for v in settings["variants"]}
    whole = report.Report(settings, rows_of(settings, 1), sizes)
    assert whole.comparisons == []
    json.dumps(whole.figures(), allow_nan=False)
