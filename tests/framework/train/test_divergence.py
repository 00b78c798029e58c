"""Runs that diverge, or have nothing to train on: an error, and the last good state is kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.contracts.dataset import Dataset
from engine.core.config.schema import EngineConfig
from engine.errors import BrokenImageError, TrainingError
from engine.train.checkpoint import Checkpoint, read
from engine.train.device import choose_dtype
from engine.train.health import Health, Watched
from engine.train.loop import Trainer
from engine.train.run import train

from .conftest import Run, weights

Make = Callable[..., EngineConfig]
BAG = (
    "model.text={use: bag_of_tokens, width: 16, layers: 3, vocab_size: 400, max_tokens: 15,"
    " tokenizer: {use: trained}}"
)
ALL = "train.stages.0.trains={vision: true, text: true}"


def last(trainer: Trainer) -> Checkpoint:
    return read(trainer.checkpoints.path(trainer.checkpoints.steps()[-1]))


def finite(checkpoint: Checkpoint) -> bool:
    return all(bool(torch.isfinite(t).all()) for t in checkpoint.tensors.values())


def spoil(trainer: Trainer, step: int, change: Callable[[Trainer], None]) -> None:
    """Let a step end with other numbers than it should."""
    real = trainer._apply

    def apply(*arguments: Any) -> None:
        real(*arguments)
        if trainer.state.at.step == step:
            with torch.no_grad():
                change(trainer)

    trainer._apply = apply  # type: ignore[method-assign]


def tensor(name: str, value: float) -> Callable[[Trainer], None]:
    def change(trainer: Trainer) -> None:
        assert trainer.stage is not None
        if name.startswith("loss."):
            loss, _, own = name.removeprefix("loss.").partition(".")
            trainer.stage.losses[loss].state_dict()[own].view(-1)[-1] = value
        else:
            trainer.model.state_dict()[name].view(-1)[-1] = value

    return change


SPOILT = [
    ("vision.blocks.2.mlp.fc2.weight", math.nan),
    ("text.embedding.weight", math.inf),
    ("text.blocks.1.norm.running_var", math.inf),
    ("text.blocks.0.norm.running_mean", math.nan),
    ("vision_projection.linear2.weight", -math.inf),
    ("text_projection.linear1.bias", math.nan),
    ("logit_scale", math.nan),
    ("loss.sigmoid.bias", math.nan),
]


def resolved(trainer: Trainer, name: str) -> str:
    """The names that stand for a place: towers name their tensors as they like."""
    if name.startswith("loss.") or name in trainer.model.state_dict():
        return name
    prefix, _, end = name.partition(".")
    own = [n for n in trainer.model.state_dict() if n.startswith(f"{prefix}.")]
    return next(n for n in own if n.endswith(end.rpartition(".")[2]))


@pytest.mark.parametrize("step", [2, 5], ids=["midway", "last-step"])
@pytest.mark.parametrize(("name", "value"), SPOILT, ids=[name for name, _ in SPOILT])
def test_what_a_step_broke_is_neither_saved_nor_ends_well(
    make_config: Make, trained: Run, name: str, value: float, step: int
) -> None:
    config = make_config(
        BAG, ALL, "train.save_steps=1", "train.stages.0.losses=[{use: sigmoid}]",
    )  # fmt: skip
    trainer, _ = trained(config, run=False)
    name = resolved(trainer, name)
    spoil(trainer, step, tensor(name, value))
    with pytest.raises(TrainingError) as caught:
        trainer.run()
    assert name.removeprefix("loss.").split(".")[-1] in caught.value.message
    assert f"after step {step + 1}" in caught.value.message
    assert f"the last good checkpoint is that of step {step}" in caught.value.message
    assert trainer.checkpoints.steps()[-1] == step
    assert finite(last(trainer))
    assert trainer.state.finished_stages == []


@pytest.mark.parametrize("trains", ["{vision: true}", "{text: true}", "{}"])
def test_a_rate_that_breaks_the_only_step_is_an_error(
    make_config: Make, tmp_path: Path, trains: str
) -> None:
    config = make_config(
        f"train.stages.0.trains={trains}", "train.stages.0.optimizer.lr=1e39",
        "train.stages.0.epochs=null", "train.stages.0.steps=1",
    )  # fmt: skip
    with pytest.raises(TrainingError, match="is not finite: ") as caught:
        train(config, tmp_path / "run")
    assert "no checkpoint was written before" in caught.value.message
    assert caught.value.exit_code in (1, 2)
    assert caught.value.hint is not None
    assert not (tmp_path / "run" / "model").exists()


def test_the_first_stages_last_step_is_checked_too(make_config: Make, trained: Run) -> None:
    def stage(name: str, lr: float) -> str:
        return f"{{name: {name}, steps: 2, batch_size: 16, optimizer: {{use: adamw, lr: {lr}}}}}"

    stages = ", ".join([stage("a", 0.01), stage("b", 1e39), stage("c", 0.01)])
    trainer, _ = trained(make_config(f"train.stages=[{stages}]"), run=False)
    with pytest.raises(TrainingError, match="stage 2"):
        trainer.run()
    assert [stage["name"] for stage in trainer.state.finished_stages] == ["a"]
    assert trainer.checkpoints.steps()[-1] in (2, 3)
    assert finite(last(trainer))


def test_weights_that_were_broken_before_are_not_saved_as_good(
    make_config: Make, trained: Run
) -> None:
    """No checkpoint is due between the step that breaks the weights and the loss that shows it."""
    trainer, _ = trained(make_config(), run=False)
    spoil(trainer, 1, tensor("text_projection.linear1.weight", math.nan))
    with pytest.raises(TrainingError, match="not finite before it either"):
        trainer.run()
    assert trainer.checkpoints.steps() == []


def test_a_loss_that_is_not_finite_leaves_the_running_statistics_as_they_were(
    make_config: Make, trained: Run
) -> None:
    config = make_config(BAG, ALL, "train.save_steps=1")
    trainer, _ = trained(config, run=False)
    real = trainer._step
    before: dict[str, torch.Tensor] = {}

    def step(stage: Any, *arguments: Any) -> Any:
        if trainer.state.at.step == 3:
            before.update(weights(trainer))
            measured = stage.step.run

            def run(*inside: Any) -> Any:
                found = measured(*inside)
                found.loss.fill_(math.nan)
                return found

            stage.step.run = run
        return real(stage, *arguments)

    trainer._step = step  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match="weights before this batch are saved"):
        trainer.run()
    after = weights(trainer)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert int(after["text.blocks.0.norm.num_batches_tracked"]) == 3


def test_a_constant_of_a_tower_may_be_infinite(make_config: Make, trained: Run) -> None:
    def mask(built: Any) -> None:
        built.model.text.register_buffer("mask", torch.full((3, 3), -math.inf).triu(1))

    trainer, heard = trained(make_config(), change=mask)
    assert len(heard.losses) == 6
    assert Watched(trainer.model).problems({}) == []


# ---- pictures ----------------------------------------------------------------------------------


def break_pictures(
    monkeypatch: pytest.MonkeyPatch, dataset: Dataset, broken: Callable[[int], bool]
) -> None:
    real = type(dataset).image

    def image(self: Dataset, index: int) -> Any:
        if broken(index):
            raise BrokenImageError(f"{index}: cut short", reason="cut short")
        return real(self, index)

    monkeypatch.setattr(type(dataset), "image", image)


@pytest.mark.parametrize("cache", ["true", "false"])
@pytest.mark.parametrize("trains", ["{text: true}", "{vision: true}", "{}"])
def test_a_run_without_a_whole_picture_is_an_error(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trains: str, cache: str
) -> None:
    config = make_config(f"train.stages.0.trains={trains}", f"train.cache.use={cache}")
    assert config.data.train is not None
    break_pictures(monkeypatch, config.data.train.create(), lambda index: True)
    with pytest.raises(
        TrainingError, match=r"48 of 48 are broken, for example .*cut short"
    ) as caught:
        train(config, tmp_path / "run")
    assert caught.value.exit_code in (1, 2)
    assert not (tmp_path / "run" / "model").exists()
    monkeypatch.undo()
    built, _ = train(config, tmp_path / "run", resume=True)
    assert built.manifest["stages"][0]["steps"] == 6


def test_pictures_that_vanish_in_a_later_epoch_are_an_error(
    make_config: Make, trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(
        "train.stages.0.trains={vision: true}", "train.cache.use=false", "train.save_steps=1",
    )  # fmt: skip
    trainer, heard = trained(config, run=False)
    break_pictures(monkeypatch, trainer.data.dataset, lambda index: trainer.state.at.epoch > 0)
    with pytest.raises(TrainingError, match=r"epoch 2: nothing was trained"):
        trainer.run()
    assert len(heard.losses) == 3


def test_one_picture_a_batch_is_too_few(
    make_config: Make, trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, _ = trained(make_config("train.stages.0.batch_size=48"), run=False)
    break_pictures(monkeypatch, trainer.data.dataset, lambda index: index != 5)
    with pytest.raises(TrainingError, match="no batch had two whole pictures: 47 of 48"):
        trainer.run()


# ---- float16 -----------------------------------------------------------------------------------


def overflow(trainer: Trainer, spoilt: Callable[[int], bool], value: float = math.inf) -> None:
    """Let the gradients of some steps overflow; the others do not at this scale of the loss."""
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=16.0)
    real = trainer._apply

    def apply(stage: Any, *arguments: Any) -> None:
        if spoilt(trainer.state.at.step):
            stage.optimizer.parameters[0].grad.view(-1)[-1] = value
        real(stage, *arguments)

    trainer._apply = apply  # type: ignore[method-assign]


@pytest.mark.parametrize("value", [math.inf, math.nan])
@pytest.mark.parametrize("begin", [0, 4])
def test_float16_that_skips_step_after_step_is_an_error(
    make_config: Make, trained: Run, begin: int, value: float
) -> None:
    config = make_config("train.precision=float16", "train.stages.0.epochs=20")
    trainer, _ = trained(config, run=False)
    overflow(trainer, lambda step: step >= begin, value)
    with pytest.raises(TrainingError, match="not finite in float16 in 5 steps") as caught:
        trainer.run()
    assert "weights before this batch are saved" in caught.value.message
    assert finite(last(trainer))
    assert trainer.state.at.step == begin + 4


def test_a_short_stage_of_skipped_steps_alone_is_an_error(make_config: Make, trained: Run) -> None:
    config = make_config("train.precision=float16", "train.stages.0.epochs=1")
    trainer, _ = trained(config, run=False)
    overflow(trainer, lambda step: True)
    with pytest.raises(TrainingError, match="float16 in any of its 3 steps"):
        trainer.run()


def test_a_few_skipped_steps_are_usual(make_config: Make, trained: Run) -> None:
    trainer, heard = trained(make_config("train.precision=float16"), run=False)
    overflow(trainer, {0, 1, 4}.__contains__, math.nan)
    trainer.run()
    assert len(heard.losses) == 6
    assert trainer.scaler.get_scale() == 2.0


def test_skipped_steps_are_counted_over_an_interruption(
    make_config: Make, trained: Run, tmp_path: Path
) -> None:
    config = make_config(
        "train.precision=float16", "train.stages.0.epochs=20", "train.save_steps=1"
    )
    first, _ = trained(config, tmp_path / "run", run=False)
    overflow(first, lambda step: step >= 3)

    class StopError(Exception):
        pass

    real = first._step

    def step(*arguments: Any) -> Any:
        if first.state.at.step == 6:
            raise StopError
        return real(*arguments)

    first._step = step  # type: ignore[method-assign]
    with pytest.raises(StopError):
        first.run()
    second, _ = trained(config, tmp_path / "run", run=False)
    overflow(second, lambda step: True)
    with pytest.raises(TrainingError, match="in 5 steps"):
        second.run(resume=True)
    assert second.state.at.step == 3 + 4


def test_health_in_numbers() -> None:
    health = Health()
    for scale in (32768.0, 2.0, 1.0):
        health.count(skipped=True)
        assert not health.diverged(scale)
    health.count(skipped=True)
    assert health.diverged(0.5)
    assert health.skipped == 4
    health.count(skipped=False)
    assert (health.taken, health.skipped) == (1, 0)
    assert not health.diverged(0.5)


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((6, 1), "float16"), ((7, 0), "float16"), ((7, 5), "float16"), ((8, 0), "bfloat16"),
     ((8, 9), "bfloat16"), ((9, 0), "bfloat16"), ((10, 0), "bfloat16"), ((12, 1), "bfloat16")],
)  # fmt: skip
def test_bfloat16_is_chosen_where_a_card_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)  # by emulation
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_, **__: capability)
    monkeypatch.setattr(torch.version, "hip", None)
    assert choose_dtype("auto", torch.device("cuda", 0)) == getattr(torch, expected)
    assert choose_dtype("bfloat16", torch.device("cuda", 0)) == torch.bfloat16
    assert choose_dtype("auto", torch.device("cpu")) == torch.float32


@pytest.mark.parametrize("has", [True, False])
def test_amd_cards_are_asked_themselves(monkeypatch: pytest.MonkeyPatch, has: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: has)
    monkeypatch.setattr(torch.version, "hip", "6.0")
    expected = torch.bfloat16 if has else torch.float16
    assert choose_dtype("auto", torch.device("cuda", 0)) == expected
