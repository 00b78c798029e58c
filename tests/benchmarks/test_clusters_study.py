"""The study of clusters with pretrained towers: equal sizes, splits, training to the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from .scripts import BENCHMARKS, module

CLASSES, WIDTH, DIM, TOKENS = 60, 16, 8, 30


study = module("clusters_study")


@pytest.fixture
def settings() -> Any:
    """clusters_study.yaml, and an optimizer as the pilot chooses one."""
    found = yaml.safe_load((BENCHMARKS / "clusters_study.yaml").read_text(encoding="utf-8"))
    return {**found, "optimizer": {"lr": 1e-3, "weight_decay": 0.05}}


@pytest.fixture
def small(settings: Any) -> Any:
    """The same for towers of a few numbers."""
    projections = settings["variants"]
    projections["wide_light"]["projection"]["hidden_width"] = 20
    projections["hard_block"]["projection"]["router"] = {"heads": 2}
    more = {"embed_dim": DIM, "batch_size": 16, "every": 2, "patience": 2, "max_steps": 3000,
            "clusters": 10, "optimizer": {"lr": 3e-2, "weight_decay": 0.05}}  # fmt: skip
    return {**settings, **more}


def data(pictures: int, photos: bool = False) -> Any:
    """Two texts a class; a picture is a matrix of its class's vector, and noise."""
    rng = np.random.default_rng(0)
    own = rng.standard_normal((CLASSES, WIDTH)).astype(np.float32)
    images = own @ rng.standard_normal((WIDTH, DIM)).astype(np.float32)
    noise = 0.1 * rng.standard_normal((pictures, CLASSES, DIM))
    texts = np.repeat(np.arange(CLASSES), 2)
    rows = 3 if photos else 0
    pooled = np.concatenate([own[texts], own[:rows]])
    lengths = rng.integers(1, 5, len(pooled))
    return study.Kept(
        names=[f"name {i}" for i in range(CLASSES)], images=(images + noise).astype(np.float32),
        text_class=texts, pooled=pooled, ids=rng.integers(TOKENS, size=(len(pooled), 4)),
        mask=np.arange(4) < lengths[:, None],
        table=rng.standard_normal((TOKENS, WIDTH)).astype(np.float32),
        photos=images[:rows], photo_labels=np.arange(rows),
        photo_texts=[f"name {i}" for i in range(rows)],
    )  # fmt: skip


def test_sizes_are_equal_and_every_training_has_a_key(settings: Any) -> None:
    sizes = study.sizes_of(settings)
    for router in ("light", "block"):
        hard = sizes[f"emoji hard_{router}"]
        assert hard == sizes[f"emoji soft_{router}"] > 9 * sizes["emoji one"]
        assert sizes[f"emoji wide_{router}"] == pytest.approx(hard, rel=0.02)
    jobs = study.jobs_of(settings)
    assert len(jobs) == len({job.key for job in jobs}) == 5 * 2 * (7 + 2)
    arms = {f"{job.variant} {job.batches}" for job in jobs}
    parts = [part for family in settings["families"].values() for part in family]
    assert {arm for part in parts for pair in part["comparisons"] for arm in pair} == arms
    settings["optimizer"]["lr"] *= 2
    assert not {job.key for job in jobs} & {job.key for job in study.jobs_of(settings)}
    settings["variants"]["wide_light"]["projection"]["hidden_width"] += 200
    with pytest.raises(SystemExit, match="wide_light"):
        study.sizes_of(settings)


def test_a_split_keeps_what_is_unseen_apart() -> None:
    split = study.Split(data(3), {"unseen": 0.25, "stop": 0.15}, 4, seed=1)
    parts = [set(part.tolist()) for part in (split.train, split.stop, split.unseen)]
    assert [len(part) for part in parts] == [36, 9, 15]
    assert set.union(*parts) == set(range(CLASSES))
    assert split.data.text_class[split.names].tolist() == list(range(CLASSES))
    assert sorted(set(split.clusters.tolist())) == [0, 1, 2, 3]
    np.testing.assert_allclose(np.linalg.norm(split.images, axis=-1), 1, rtol=1e-5)
    state = split.state(np.array([3, 8]))
    assert state["token_embeddings"].shape == (2, int(state["mask"].sum(dim=1).max()), WIDTH)
    other = study.Split(data(3), {"unseen": 0.25, "stop": 0.15}, 4, seed=2)
    assert set(other.unseen.tolist()) != parts[2]


@pytest.mark.parametrize("variant", ["one", "hard_light", "soft_light", "hard_block"])
def test_a_training_ends_and_keeps_its_best(small: Any, variant: str) -> None:
    about = {"unseen": 0.2, "stop": 0.2}
    split = study.Split(data(1, photos=True), about, small["clusters"], seed=0)
    job = study.Job("classes", 0, variant, "shuffled", "")
    torch_model, how = study.train(small, split, job)
    assert how["to_the_end"]
    assert how["best_step"] == how["steps"] - small["every"] * small["patience"]
    assert study.stop_loss(torch_model, split) == pytest.approx(how["stop_loss"], rel=1e-5)
    found = study.evaluated(torch_model, split)
    assert all(0 <= found[name] <= 100 for name in ("accuracy", "within", "seen", "seen_within"))
    assert ("router" in found) == (variant != "one")
    again, same = study.train(small, split, job)
    assert (same, study.evaluated(again, split)) == (how, found)


def test_emoji_are_tested_on_a_background_of_their_own(small: Any) -> None:
    split = study.Split(data(3), {"unseen": 0.25, "stop": 0.15}, 4, seed=0)
    job = study.Job("emoji", 0, "hard_light", "in_cluster", "")
    model, _ = study.train({**small, "max_steps": 4}, split, job)
    before = study.evaluated(model, split)
    split.images[:2, split.train] = 0
    after = study.evaluated(model, split)
    assert after["seen"] == before["seen"]


def test_a_line_that_was_cut_short_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    study.append(path, {"key": "a"})
    with path.open("a", encoding="utf-8") as file:
        file.write('{"key": "b", "accu')
    study.append(path, {"key": "c"})
    assert sorted(study.read_results(path)) == ["a", "c"]
    assert json.loads(path.read_text(encoding="utf-8").splitlines()[-1]) == {"key": "c"}


def test_families_are_corrected_apart(settings: Any) -> None:
    rng = np.random.default_rng(0)
    measures = ("accuracy", "within", "seen", "seen_within")
    rows = [
        {"data": job.data, "variant": job.variant, "batches": job.batches, "seed": job.seed,
         **{name: float(rng.normal(50, 1)) for name in measures},
         **{f"chance_{name}": 1.0 for name in measures}}
        for job in study.jobs_of(settings)
    ]  # fmt: skip
    whole = study.Report(settings, rows, study.sizes_of(settings))
    primary = [each for each in whole.comparisons if each.family == "primary"]
    assert len(primary) == 16
    assert len(whole.comparisons) == 16 + 16 + 32
    least = min(primary, key=lambda each: each.p)
    assert least.holm == pytest.approx(min(1.0, 16 * least.p))
    assert "photographs" in whole.page()
    json.dumps(whole.figures(), allow_nan=False)


def test_the_pilot_takes_the_lowest_loss_and_is_not_run_twice(
    small: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []

    def train(settings: Any, split: Any, job: Any) -> Any:
        asked.append((split, job.seed, settings["optimizer"]["lr"]))
        loss = abs(settings["optimizer"]["lr"] - 1e-3) + settings["optimizer"]["weight_decay"]
        return None, {"stop_loss": loss}

    monkeypatch.setattr(study, "PLACE", tmp_path)
    monkeypatch.setattr(study, "train", train)
    monkeypatch.setattr(study, "split_of", lambda data, seed: (data, seed))
    assert study.pilot(small) == {"lr": 1e-3, "weight_decay": 0.05}
    assert len(asked) == 2 * 3 * 2
    assert {seed for _, seed, _ in asked} == {99} - set(range(small["seeds"]))
    assert study.pilot(small) == {"lr": 1e-3, "weight_decay": 0.05}
    assert len(asked) == 12
    study.pilot({**small, "patience": 3})
    assert len(asked) == 24
