"""The loop against a bare one, stages, freezing, what is reported and written."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from engine.contracts.preprocess import to_batch, to_pixels
from engine.contracts.training import Epoch
from engine.core.config.schema import EngineConfig
from engine.data.seeds import seed_of
from engine.errors import ConfigError, DataError, TrainingError
from engine.train.data import draws
from engine.train.history import read_history
from engine.train.loop import Trainer
from engine_plugins.losses.pairs import Contrastive
from engine_plugins.losses.settings import ContrastiveSettings

from .conftest import Run, weights

Make = Callable[..., EngineConfig]


def bare_losses(trainer: Trainer, steps: int) -> list[float]:
    """What a plain loop computes: every text padded to the longest, everything run each step."""
    model, data, config = trainer.model, trainer.data, trainer.built.config
    assert config.train is not None
    stage = config.train.stages[0]
    model.train()
    model.vision.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    trained = [*model.text.h[2:].parameters(), *model.text.ln_f.parameters(), model.logit_scale]
    trained += [*model.vision_projection.parameters(), *model.text_projection.parameters()]
    for parameter in trained:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in trained if p.dim() >= 2], "weight_decay": 5e-5},
            {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
        ],
        lr=1e-3, betas=(0.9, 0.98), eps=1e-6,
    )  # fmt: skip
    losses: list[float] = []
    for epoch in range(2):
        seed = seed_of(config.seed, "order", 0, epoch)
        position = Epoch(epoch, 2, len(data), stage.batch_size, seed)
        drawn = draws(seed_of(config.seed, "queries", 0, epoch), len(data))
        for number, rows in enumerate(stage.sampler.create().batches(position)):
            torch.manual_seed(seed_of(config.seed, "step", 0, epoch, number, 0))
            pictures = [data.dataset.image(int(data.rows[row])) for row in rows]
            pixels = [to_pixels(picture, model.vision.preprocess) for picture in pictures]
            image = model.encode_image(to_batch(pixels, model.vision.preprocess))
            tokens = data.table.padded(data.sequence[data.drawn(rows, drawn)], length=15)
            text = model.encode_text(tokens["ids"], tokens["mask"])
            logits = model.logit_scale.exp() * image @ text.T
            right = torch.arange(len(rows))
            loss = (
                functional.cross_entropy(logits, right) + functional.cross_entropy(logits.T, right)
            ) / 2
            optimizer.zero_grad()
            loss.backward()
            done = len(losses) / steps
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * (1 + np.cos(np.pi * done)) / 2
            optimizer.step()
            losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["train.cache.use=false"],
        ["train.stages.0.chunk_size=5"],
        ["train.cache.use=false", "train.stages.0.chunk_size=7"],
    ],
    ids=["cached", "plain", "cached-chunks", "plain-chunks"],
)
def test_losses_and_weights_are_those_of_a_bare_loop(
    make_config: Make, trained: Run, overrides: list[str]
) -> None:
    config = make_config(*overrides)
    trainer, heard = trained(config)
    other, _ = trained(config, run=False)
    expected = bare_losses(other, 6)
    assert len(heard.losses) == 6
    assert heard.losses == pytest.approx(expected, abs=1e-5)
    own, bare = weights(trainer), weights(other)
    for name, tensor in own.items():
        assert torch.allclose(tensor, bare[name], atol=2e-5), name


def test_stored_in_float16_the_losses_stay_near(make_config: Make, trained: Run) -> None:
    _, exact = trained(make_config())
    _, half = trained(make_config("train.cache.dtype=float16"))
    assert half.losses == pytest.approx(exact.losses, abs=1e-3)
    assert half.losses != exact.losses


def test_a_stage_changes_what_it_trains_and_nothing_else(make_config: Make, trained: Run) -> None:
    config = make_config("train.stages.0.epochs=1")
    trainer, _ = trained(config)
    fresh, _ = trained(config, run=False)
    before = weights(fresh)
    changed = {n for n, t in weights(trainer).items() if not torch.equal(t, before[n])}
    expected = {
        name
        for name in before
        if name.startswith(("text.h.2.", "text.h.3.", "text.ln_f", "vision_proj", "text_proj"))
    }
    assert changed == expected | {"logit_scale"}


def test_stages_follow_each_other_and_share_what_they_can(
    make_config: Make, trained: Run, tmp_path: Path
) -> None:
    stages = (
        "[{name: a, trains: {text: {blocks: last 2}}, epochs: 1, batch_size: 16},"
        " {name: b, trains: {text: {blocks: last 2, embeddings: true}}, steps: 4, batch_size: 16}]"
    )
    folder = tmp_path / "run"
    trainer, heard = trained(make_config(f"train.stages={stages}"), folder)
    assert [stage["name"] for stage in trainer.state.finished_stages] == ["a", "b"]
    assert [stage["steps"] for stage in trainer.state.finished_stages] == [3, 4]
    assert "vision: 5 of 5 segments computed once" in heard.notes[0]
    assert "text: 3 of 6 segments computed once" in heard.notes[0]
    assert "text:" not in heard.notes[1]
    stores = [p.name.partition("-")[0] for p in (folder / "cache").iterdir() if p.is_dir()]
    assert sorted(stores) == ["text", "vision"]  # the second stage reads the first one's pictures
    story = read_history(folder)
    assert [point["step"] for point in story.points] == list(range(1, 8))
    assert [stage["name"] for stage in story.stages] == ["a", "b"]
    assert heard.closed
    assert heard.run.steps == 7


def test_the_best_checkpoint_is_kept_beside_the_last(make_config: Make, trained: Run) -> None:
    scores = iter([10.0, 50.0, 20.0, 30.0, 40.0])
    config = make_config("train.stages.0.epochs=5", "train.checkpoints=1", "train.save_steps=1")
    trainer, heard = trained(config, evaluator=lambda: {"accuracy": next(scores)})
    assert trainer.checkpoints.steps() == [6, 15]
    assert trainer.state.finished_stages[0]["scores"] == {"accuracy": 40.0}
    assert [v["accuracy"] for _, v in heard.values if "accuracy" in v] == [10, 50, 20, 30, 40]


def test_queries_by_their_mean(make_config: Make, trained: Run) -> None:
    config = make_config("train.queries=mean", "train.stages.0.epochs=1")
    trainer, heard = trained(config)
    assert len(heard.losses) == 3
    rows = np.array([3, 0])
    texts, counts = trainer.data.every(rows)
    assert counts.tolist() == [4, 4]
    assert texts.tolist() == [12, 13, 14, 15, 0, 1, 2, 3]


def test_views_of_augmented_pictures_are_stored_each(make_config: Make, trained: Run) -> None:
    config = make_config("train.stages.0.augment={views: 2, flip: true}", "train.stages.0.epochs=6")
    trainer, heard = trained(config)
    assert len(heard.losses) == 18
    folder = next((trainer.folder / "cache").glob("vision-*"))
    with contextlib.closing(sqlite3.connect(folder / "index.sqlite")) as index:
        ((stored,),) = index.execute("SELECT count(*) FROM items")
    assert 48 < stored <= 2 * 48  # more than one view of most pictures


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.stages.0.trains={text: false, text_projection: false, vision_projection: false}",
         "trains nothing"),
        ("train.stages.0.trains={text: {blocks: last 9}}", "`last 9` of a tower that has 4"),
        ("train.stages.0.losses=[{use: router}]", "needs `cluster`"),
        ("train.stages.0.losses=[{use: balance}]", "needs `text.router_logits`"),
    ],
)  # fmt: skip
def test_stages_that_cannot_be_are_refused_before_training(
    make_config: Make, trained: Run, override: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        trained(make_config(override))


def test_a_batch_of_one_is_refused_with_its_place(make_config: Make) -> None:
    with pytest.raises(ConfigError, match=r"train\.stages\.0\.batch_size"):
        make_config("train.stages.0.batch_size=1")


def test_fewer_rows_than_a_batch_are_refused(make_config: Make, trained: Run) -> None:
    with pytest.raises(DataError, match="48 usable rows, fewer than a batch of 64"):
        trained(make_config("train.stages.0.batch_size=64"))


def test_a_number_that_is_not_finite_stops_and_keeps_the_state_before(
    make_config: Make, trained: Run
) -> None:
    config = make_config("train.stages.0.optimizer.lr=1e12", "train.max_scale=1e30")
    trainer, heard = trained(config, run=False)
    with pytest.raises(TrainingError) as caught:
        trainer.run()
    assert "stage 1, epoch" in caught.value.message
    assert "images " in caught.value.message
    assert all(torch.isfinite(tensor).all() for tensor in weights(trainer).values())
    assert trainer.checkpoints.steps()[-1] == len(heard.losses)


@pytest.mark.parametrize(
    ("chance", "warned"), [(math.log(16), True), (2 * math.log(16), False), (None, False)]
)
def test_a_loss_that_never_left_chance_is_warned_of(
    make_config: Make, trained: Run, monkeypatch: pytest.MonkeyPatch,
    chance: float | None, warned: bool,
) -> None:  # fmt: skip
    """A learning rate of almost 0 leaves the loss of 16 rows near ln 16."""
    assert Contrastive(ContrastiveSettings()).chance(16) == pytest.approx(math.log(16))
    monkeypatch.setattr(Contrastive, "chance", lambda self, rows: chance)
    trainer, heard = trained(make_config("train.stages.0.optimizer.lr=1e-9"))
    found = trainer.state.finished_stages[0]["warnings"]
    assert bool(found) is warned
    assert any(note.startswith("WARNING: stage `blocks`") for note in heard.notes) is warned
    if warned:
        assert "never left 2.773" in found[0]


def test_loggers_learn_where_a_step_is(make_config: Make, trained: Run) -> None:
    _, heard = trained(make_config())
    assert heard.run.stages == [("blocks", 2)]
    places = [(values["stage"], values["epoch"]) for _, values in heard.values]
    assert places == [(1, 1)] * 3 + [(1, 2)] * 3
