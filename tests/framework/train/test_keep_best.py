"""Which weights a run keeps, and the models of its checkpoints by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import engine
from engine.core.artifact import read_manifest
from engine.core.build import Built, read_artifact
from engine.core.config.schema import EngineConfig
from engine.core.model_path import model_folder
from engine.errors import ArtifactError, ConfigError, TrainingError
from engine.train.checkpoint_model import step_of
from engine.train.evaluator import Evaluator
from engine.train.run import train

from .conftest import Run, weights

Make = Callable[..., EngineConfig]
EVAL = "data.evaluate=[{use: shapes, count: 20, size: 16, split: test}]"
EVERY = ("train.save_steps=1", "train.checkpoints=100", "train.stages.0.epochs=4", EVAL)


def scored(*accuracies: float, name: str = "accuracy") -> Callable[[Built], Evaluator]:
    """An evaluator that gives these scores, one after the other."""
    left: Iterator[float] = iter(accuracies)

    def make(built: Built) -> Evaluator:
        def evaluate() -> Mapping[str, float]:
            found = {"accuracy": 50.0}
            return found | {name: next(left)}

        return evaluate

    return make


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    return dict(read_artifact(folder).model.state_dict())


def equal(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kept", ["last", "best"])
@pytest.mark.parametrize("callbacks", ["[]", "[{use: ema, decay: 0.5}]"])
def test_the_weights_of_the_best_evaluation_or_of_the_last_step(
    make_config: Make, trained: Run, tmp_path: Path, kept: str, callbacks: str
) -> None:
    config = make_config(*EVERY, f"train.keep={kept}", f"train.callbacks={callbacks}")
    run = tmp_path / "run"
    built, size = train(config, run, evaluator=scored(10, 40, 30, 20))
    assert size is not None
    manifest = read_manifest(run / "model")
    if kept == "best":
        assert manifest["trained_weights"].endswith("after step 6 of 12, the best evaluation")
        assert manifest["scores"] == {"accuracy": 40}
        assert equal(state_of(run / "model"), state_of(model_folder(Path(f"{run}@best"))))
        assert not equal(state_of(run / "model"), state_of(model_folder(Path(f"{run}@last"))))
    else:
        assert manifest["trained_weights"].endswith("after step 12 of 12")
        assert manifest["scores"] == {"accuracy": 20}
        assert equal(state_of(run / "model"), state_of(model_folder(Path(f"{run}@last"))))
    assert len(manifest["stages"]) == 1
    assert equal(dict(built.model.state_dict()), state_of(run / "model"))


def test_the_model_of_a_step_is_what_the_run_had_there(
    make_config: Make, trained: Run, tmp_path: Path
) -> None:
    """Also with two stages, of which the second trains what the first does not."""
    stages = (
        "train.stages=[{name: a, trains: {text: {blocks: last 2}}, epochs: 1, batch_size: 16},"
        " {name: b, trains: {vision: true}, epochs: 1, batch_size: 16}]"
    )
    config = make_config(stages, "train.save_steps=1", "train.checkpoints=100")
    seen: list[dict[str, torch.Tensor]] = []
    trainer, _ = trained(config, run=False)
    real = trainer._after_step

    def after(*arguments: Any) -> None:
        seen.append(weights(trainer))
        real(*arguments)

    trainer._after_step = after  # type: ignore[method-assign]
    trainer.run()
    run = tmp_path / "run"
    train(config, run)
    for step in (1, 3, 4, 6):
        folder = model_folder(Path(f"{run}@{step}"))
        assert equal(state_of(folder), seen[step - 1])
        assert read_manifest(folder)["trained_weights"] == f"weights after step {step} of 6"
        assert read_manifest(folder)["scores"] == {}  # nothing was evaluated
    assert engine.load(f"{run}@4").model is not None


def test_an_average_is_the_one_of_that_step(make_config: Make, tmp_path: Path) -> None:
    config = make_config(*EVERY, "train.callbacks=[{use: ema, decay: 0.5, warmup: false}]")
    run = tmp_path / "run"
    train(config, run, evaluator=scored(1, 2, 3, 4))
    short, plain = tmp_path / "short", tmp_path / "plain"
    train(config, short, until=lambda steps: 5, evaluator=scored(1, 2, 3, 4))
    assert not (short / "model").exists()
    folder = model_folder(Path(f"{run}@5"))
    assert equal(state_of(folder), state_of(model_folder(Path(f"{short}@last"))))
    no_average = config.model_copy(
        update={"train": config.train.model_copy(update={"callbacks": ()})}  # type: ignore[union-attr]
    )
    train(no_average, plain, evaluator=scored(1, 2, 3, 4))
    assert not equal(state_of(folder), state_of(model_folder(Path(f"{plain}@5"))))


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_another_score_chooses(make_config: Make, tmp_path: Path, better: str) -> None:
    callback = f"train.callbacks=[{{use: keep_best, metric: other, better: {better}}}]"
    config, run = make_config(*EVERY, callback), tmp_path / "run"
    train(config, run, evaluator=scored(5, 9, 1, 2, name="other"))
    best = 6 if better == "higher" else 9
    assert step_of(run, "best") == best
    assert f"after step {best} of 12" in read_manifest(run / "model")["trained_weights"]
    assert read_manifest(run / "model")["scores"]["other"] == (9 if better == "higher" else 1)


def test_a_run_that_was_paused_goes_on_to_the_same_model(make_config: Make, tmp_path: Path) -> None:
    config = make_config(*EVERY, "train.keep=best")
    train(config, tmp_path / "whole", evaluator=scored(10, 40, 30, 20))
    broken, scores = tmp_path / "broken", (10.0, 40.0, 30.0, 20.0)
    evaluator = scored(*scores)
    for until in (2, 3, 7):
        built, size = train(
            config, broken, resume=(broken / "config.yaml").exists(),
            until=partial(min, until), evaluator=evaluator,
        )  # fmt: skip
        assert size is None
        assert built.manifest["trained_weights"].startswith(f"weights after step {until} of 12")
    train(config, broken, resume=True, evaluator=evaluator)
    first = (tmp_path / "whole" / "model" / "model.safetensors").read_bytes()
    assert (broken / "model" / "model.safetensors").read_bytes() == first


def test_the_best_needs_data_to_evaluate_on(make_config: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.keep.*`data\.evaluate` names no data set"):
        train(make_config("train.keep=best"), tmp_path / "run")


def test_what_is_said_where_a_checkpoint_is_not_there(make_config: Make, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(make_config(*EVERY), run, evaluator=scored(10, 40, 30, 20))
    for name, hint in (("7000", "best, last, 1, 2"), ("bset", "did you mean `best`"), ("-1", "it")):
        with pytest.raises(ArtifactError, match="has no checkpoint") as caught:
            model_folder(Path(f"{run}@{name}"))
        assert hint in f"{caught.value.message} {caught.value.hint}"
    with pytest.raises(ArtifactError, match="is not a training run"):
        model_folder(Path(f"{run / 'model'}@best"))
    never = tmp_path / "never"
    train(make_config(), never)
    with pytest.raises(ArtifactError, match="it was not evaluated"):
        model_folder(Path(f"{never}@best"))
    shutil.rmtree(run / "start")
    with pytest.raises(ArtifactError, match=r"has no start/ any more"):
        model_folder(Path(f"{run}@1"))


def test_a_folder_with_such_a_name_is_itself(make_config: Make, tmp_path: Path) -> None:
    train(make_config(), tmp_path / "a@best")
    assert model_folder(tmp_path / "a@best") == tmp_path / "a@best" / "model"
    assert model_folder(tmp_path / "nothing@best") == tmp_path / "nothing@best"


def test_the_damaged_best_is_named(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, run = make_config(*EVERY, "train.keep=best"), tmp_path / "run"
    train(config, run, evaluator=scored(10, 40, 30, 20))
    (run / "checkpoints" / "step-00000006" / "tensors.safetensors").write_bytes(b"x")
    with pytest.raises(TrainingError, match="the best weights, of step 6") as caught:
        train(config, run, resume=True)
    assert "keep=last" in str(caught.value.hint)


def test_force_replaces_a_run_whose_checkpoints_were_used(
    make_config: Make, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train(make_config(*EVERY), run, evaluator=scored(10, 40, 30, 20))
    model_folder(Path(f"{run}@best"))
    train(make_config(*EVERY), run, force=True, evaluator=scored(10, 40, 30, 20))
