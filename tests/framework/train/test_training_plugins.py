"""Optimizers and callbacks in a run: rates of groups, resumed exactly, which weights are kept."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from engine.core.artifact import read_manifest
from engine.core.config import load_config
from engine.core.config.schema import EngineConfig
from engine.core.registry import Registry
from engine.errors import ConfigError
from engine.train.loop import Trainer
from engine.train.run import train

from .conftest import BASE, Run, weights
from .test_resume import KilledError, kill_after, same

PACKAGES = Path(__file__).resolve().parents[2] / "packages"
Make = Callable[..., EngineConfig]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """``make_config`` with the example packages registered through their own entry points."""
    points = list(entry_points(group="engine"))
    for name in ("layer_rates", "weight_mean"):
        folder = PACKAGES / f"engine-{name.replace('_', '-')}" / "src"
        monkeypatch.syspath_prepend(folder)
        points.append(EntryPoint(f"engine_{name}", f"engine_{name}", "engine"))
    registry = Registry(points)

    def config(*overrides: str) -> EngineConfig:
        path = tmp_path / "little.yaml"
        path.write_text(yaml.safe_dump(BASE), encoding="utf-8")
        return load_config(path, overrides, registry=registry)

    yield config
    for name in [name for name in sys.modules if name.startswith(("engine_layer", "engine_wei"))]:
        del sys.modules[name]


def stages(optimizer: str) -> str:
    return (
        "train.stages=[{name: a, trains: {text: {blocks: last 2}}, epochs: 1, batch_size: 16,"
        f" optimizer: {optimizer}}}, {{name: b, trains: {{vision: true, text: true}}, epochs: 2,"
        f" batch_size: 16, schedule: {{warmup: 2}}, optimizer: {optimizer},"
        " losses: [{use: sigmoid}]}]"
    )


OPTIMIZERS = {
    "adamw": "{use: adamw, lr: 0.001}",
    "adam-groups": "{use: adam, lr: 0.001, groups: [{match: '*.bias', lr: 0.01},"
    " {match: 'text.*', lr: 0.0001, weight_decay: 0.5}]}",
    "sgd": "{use: sgd, lr: 0.01}",
    "sgd-nesterov": "{use: sgd, lr: 0.01, nesterov: true, weight_decay: 0.1}",
    "sgd-plain": "{use: sgd, lr: 0.01, momentum: 0}",
    "layer_rates": "{use: layer_rates, lr: 0.001, decay: 0.5}",
}


def resumes(config: EngineConfig, trained: Run, tmp_path: Path, killed: int) -> None:
    """A run that is killed and goes on ends with the weights of an undisturbed one."""
    straight, heard = trained(config)
    broken, _ = trained(config, tmp_path / "broken", run=False)
    kill_after(broken, killed)
    with pytest.raises(KilledError):
        broken.run()
    resumed, again = trained(config, tmp_path / "broken", resume=True)
    assert same(straight, resumed)
    assert again.losses == heard.losses[len(heard.losses) - len(again.losses) :]
    assert straight.kept_weights() == resumed.kept_weights()
    plain, _ = straight.snapshot().to_checkpoint()
    other, _ = resumed.snapshot().to_checkpoint()
    assert plain["callbacks"] == other["callbacks"]


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("killed", [1, 5])
def test_every_optimizer_goes_on_to_the_bit(
    make: Make, trained: Run, tmp_path: Path, name: str, killed: int
) -> None:
    resumes(make(stages(OPTIMIZERS[name]), "train.save_steps=2"), trained, tmp_path, killed)


CALLBACKS = {
    "ema": "[{use: ema, decay: 0.9}]",
    "ema-plain": "[{use: ema, decay: 0.5, warmup: false}]",
    "weight_mean": "[{use: weight_mean, after: 2}]",
    "both": "[{use: ema}, {use: weight_mean}, {use: ema, decay: 0.2}]",
}


@pytest.mark.parametrize("name", CALLBACKS)
@pytest.mark.parametrize("killed", [0, 3, 5, 8])
def test_every_callback_goes_on_to_the_bit(
    make: Make, trained: Run, tmp_path: Path, name: str, killed: int
) -> None:
    config = make(
        stages("{use: adamw, lr: 0.01}"), f"train.callbacks={CALLBACKS[name]}", "train.save_steps=2"
    )
    resumes(config, trained, tmp_path, killed)


def test_each_group_follows_the_schedule_from_its_own_rate(make: Make, trained: Run) -> None:
    optimizer = "{use: adamw, lr: 0.001, groups: [{match: 'text.*', lr: 0.1}]}"
    trainer, _ = trained(make(stages(optimizer).replace("epochs: 2", "epochs: 1")), run=False)
    rates: list[tuple[float, ...]] = []
    real = trainer._apply

    def apply(stage: Any, *arguments: Any) -> None:
        real(stage, *arguments)
        groups = stage.optimizer.optimizer.param_groups
        rates.append(tuple(sorted({float(group["lr"]) for group in groups})))

    trainer._apply = apply  # type: ignore[method-assign]
    trainer.run()
    for low, high in rates:
        assert high == pytest.approx(100 * low)
    assert len({low for low, _ in rates}) > 3  # cosine, and the warm-up of the second stage
    assert trainer.state.finished_stages[0]["lr"] == 0.1


def test_layer_wise_rates_fall_from_the_head_to_the_stem(make: Make, trained: Run) -> None:
    config = make(stages(OPTIMIZERS["layer_rates"]))
    trainer, _ = trained(config, run=False)
    from engine.train.stages import freeze, named_parameters

    stage = config.train.stages[1]  # type: ignore[union-attr]
    freeze(trainer.model, stage.trains, "here")
    named = named_parameters(trainer.model, {})
    optimizer = stage.optimizer.create().create(named)
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    rates: dict[tuple[str, int | None], set[float]] = {}
    for each in named:
        key = each.name.partition(".")[0], each.depth
        rates.setdefault(key, set()).add(rate[id(each.parameter)])
    assert rates["text", 5] == {0.001}
    assert rates["text", 0] == {0.001 * 0.5**5}
    assert rates["vision", 1] == {0.001 * 0.5**3}
    assert rates["logit_scale", None] == {0.001}


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        ("{use: adamw, groups: [{match: 'txt.*', lr: 1}]}", r"groups\.0\.match: `txt\.\*` matches"),
        ("{use: sgd, groups: [{match: '*'}]}", "give `lr`, `weight_decay` or both"),
        ("{use: sgd, momentum: 0, nesterov: true}", "`nesterov` needs"),
        ("{use: adamm}", "did you mean `adamw`|did you mean `adam`"),
        ("{use: adam, betas: [1.0, 0.9]}", "less than 1"),
    ],
)
def test_what_cannot_be_is_refused_before_training(
    make: Make, trained: Run, optimizer: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        trained(make(stages(optimizer)))


# ---- which weights are evaluated and kept ------------------------------------------------------


def test_the_average_is_evaluated_and_kept_and_the_run_is_the_same(
    make: Make, trained: Run
) -> None:
    """EMA against its formula, computed by hand from the weights after every step."""
    overrides = ("train.stages.0.epochs=2", "train.stages.0.optimizer.lr=0.01")
    config = make(*overrides, "train.callbacks=[{use: ema, decay: 0.7}]")
    seen: list[torch.Tensor] = []
    found: dict[str, Any] = {}

    def score() -> dict[str, float]:
        found["evaluated"] = weights(found["trainer"])
        return {"accuracy": 1.0}

    trainer, _ = trained(config, evaluator=score, run=False)
    found["trainer"] = trainer
    name = "text_projection.linear1.weight"
    expected = weights(trainer)[name]
    real = trainer._after_step

    def after(*arguments: Any) -> None:
        seen.append(weights(trainer)[name])
        real(*arguments)

    trainer._after_step = after  # type: ignore[method-assign]
    trainer.run()
    for step, own in enumerate(seen):
        decay = min(0.7, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * own
    assert torch.allclose(weights(trainer)[name], expected, atol=1e-7)
    assert torch.equal(found["evaluated"][name], weights(trainer)[name])
    assert not torch.equal(seen[-1], expected)
    plain, _ = trained(make(*overrides))
    assert torch.equal(weights(plain)[name], seen[-1])  # training itself is the same
    assert trainer.kept_weights() == "exponential moving average (decay 0.7) after step 6 of 6"
    assert plain.kept_weights() == "weights after step 6 of 6"


@pytest.mark.parametrize("averaged", [True, False])
def test_the_manifest_says_which_weights_the_model_holds(
    make_config: Make, tmp_path: Path, averaged: bool
) -> None:
    config = make_config(f"train.callbacks={'[{use: ema}]' if averaged else '[]'}")
    train(config, tmp_path / "run")
    said = read_manifest(tmp_path / "run" / "model")["trained_weights"]
    assert said == ("exponential moving average (decay 0.999)" if averaged else "weights") + (
        " after step 6 of 6"
    )
    first = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    train(config, tmp_path / "run", resume=True)  # a run that is over gives the same model again
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == first


# ---- early stopping ----------------------------------------------------------------------------

STOP = "train.callbacks=[{use: early_stopping, patience: 2}]"


@pytest.mark.parametrize("killed", [None, 3, 4, 6, 10, 13])
@pytest.mark.parametrize("saved", [1, 2, 100])
def test_a_stage_that_gets_no_better_ends_early_also_after_an_interruption(
    make_config: Make, trained: Run, tmp_path: Path, killed: int | None, saved: int
) -> None:
    config = make_config(
        "train.stages=[{name: a, epochs: 9, batch_size: 16}, {name: b, epochs: 2,"
        " batch_size: 16}]", STOP, f"train.save_steps={saved}",
    )  # fmt: skip
    scores = {3: 10.0, 6: 30.0, 9: 20.0, 12: 30.0, 15: 5.0, 18: 6.0}
    holder: list[Trainer] = []

    def score() -> dict[str, float]:
        return {"accuracy": scores[holder[-1].state.at.step]}

    folder = tmp_path / "run"
    trainer, heard = trained(config, folder, evaluator=score, run=False)
    holder.append(trainer)
    if killed is not None:
        kill_after(trainer, killed)
        with pytest.raises(KilledError):
            trainer.run()
        trainer, heard = trained(config, folder, evaluator=score, run=False)
        holder.append(trainer)
    trainer.run(resume=killed is not None)
    assert [stage["steps"] for stage in trainer.state.finished_stages] == [12, 6]
    assert [stage["epochs"] for stage in trainer.state.finished_stages] == [4, 2]
    assert killed == 13 or any("`early_stopping` asks for it" in note for note in heard.notes)


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_which_scores_are_better(make_config: Make, trained: Run, better: str) -> None:
    config = make_config(
        "train.stages.0.epochs=8", "train.callbacks=[{use: early_stopping, patience: 1,"
        f" metric: error, min_delta: 2, better: {better}}}]",
    )  # fmt: skip
    falling = iter([50.0, 40.0, 30.0, 29.0, 10.0, 5.0, 1.0, 0.0])
    trainer, _ = trained(config, evaluator=lambda: {"error": next(falling)})
    assert trainer.state.finished_stages[0]["epochs"] == (4 if better == "lower" else 2)


def test_early_stopping_without_evaluations_is_refused(make_config: Make, trained: Run) -> None:
    with pytest.raises(ConfigError, match="`early_stopping` needs evaluations"):
        trained(make_config(STOP))


def test_a_score_that_is_not_there_is_named_with_those_that_are(
    make_config: Make, trained: Run
) -> None:
    with pytest.raises(ConfigError, match=r"`accuracy`, which .* gives `recall`"):
        trained(make_config(STOP), evaluator=lambda: {"recall": 1.0})


def test_other_evaluations_are_another_run_where_a_callback_counts_them(
    make_config: Make, trained: Run, tmp_path: Path
) -> None:
    from engine.errors import TrainingError

    scored = {"evaluator": lambda: {"accuracy": 1.0}}
    trained(make_config(STOP), tmp_path / "run", **scored)
    with pytest.raises(TrainingError, match="evaluate_every"):
        trained(
            make_config(STOP, "train.evaluate_every=2"), tmp_path / "run", resume=True, **scored
        )


def test_a_checkpoint_of_the_first_edition_is_refused(
    make_config: Make, trained: Run, tmp_path: Path
) -> None:
    from engine.errors import TrainingError

    folder = tmp_path / "run"
    trainer, _ = trained(make_config(), folder)
    path = trainer.checkpoints.path(trainer.checkpoints.steps()[-1]) / "state.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    del state["callbacks"]
    path.write_text(json.dumps(state), encoding="utf-8")
    with pytest.raises(TrainingError, match="not one that this Engine can go on from"):
        trained(make_config(), folder, resume=True)
