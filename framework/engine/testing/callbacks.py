"""What callbacks promise."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.contracts.callback import StageInfo
from engine.contracts.training import RunInfo
from engine.errors import ConfigError
from engine.testing.common import call
from engine.testing.core import fault, rule
from engine.testing.subject import Subject

_CALLBACK = "engine.contracts.callback.Callback"


class _Run:
    """A small model whose weights move from step to step, and a callback that accompanies it."""

    def __init__(self, it: CallbackSubject, folder: Path) -> None:
        torch.manual_seed(7)
        self.model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        self.model[0].requires_grad_(False)
        self.callback, self.folder = it.make(), folder

    def info(self, step: int = 0) -> RunInfo:
        return RunInfo(self.folder, "a model", 20, step, {"name": "a model", "seed": 0})

    def begin(self) -> None:
        call(self.callback.start, self.info(), self.model, expected="start(run, model) to work")
        call(self.callback.on_stage, StageInfo(0, "one", 20, 5), self.model,
             expected="on_stage(stage, model) to work")  # fmt: skip

    def steps(self, first: int, last: int) -> None:
        for step in range(first, last):
            draw = torch.Generator().manual_seed(step)
            with torch.no_grad():
                for parameter in self.model.parameters():
                    if parameter.requires_grad:
                        parameter.add_(torch.randn(parameter.shape, generator=draw))
            self.model(torch.randn(5, 3, generator=draw))  # BatchNorm's statistics move, too
            values = {"loss": 1.0 / step, "lr": 1e-3, "loss_contrastive": 1.0 / step}
            call(self.callback.on_step, step, self.model, values,
                 expected="on_step(step, model, values) to work")  # fmt: skip

    def evaluate(self, step: int, accuracy: float) -> Any:
        try:
            return self.callback.on_evaluate(step, {"accuracy": accuracy}, self.model)
        except ConfigError:  # its settings name another score
            return None

    def weights(self) -> dict[str, Tensor]:
        return {name: t.detach().clone() for name, t in self.model.state_dict().items()}

    def evaluated(self) -> dict[str, Tensor]:
        with self.callback.evaluated_model(self.model):
            return self.weights()


class CallbackSubject(Subject):
    """A callback."""

    contract = _CALLBACK
    settings_base = "engine.contracts.training_settings.CallbackSettings"

    def make(self) -> Any:
        """A new one."""
        return self.target(self.settings)


SUBJECT = CallbackSubject


def _different(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    return [name for name, tensor in one.items() if not torch.equal(tensor, other[name])]


@rule(
    contract=_CALLBACK,
    says="sees every step and every evaluation, and may ask to end a stage early",
    why="A callback that raises ends the run that it was to accompany.",
    needs=("settings_valid",),
)
def calls(it: CallbackSubject) -> None:
    """It is started, gets a stage, its steps and evaluations, and the next stage."""
    with tempfile.TemporaryDirectory() as folder:
        run = _Run(it, Path(folder))
        run.begin()
        for number in range(4):
            run.steps(3 * number + 1, 3 * number + 4)
            answer = run.evaluate(3 * number + 3, 50.0 + number)
            if not (answer is None or isinstance(answer, bool)):
                fault("True, False or None from on_evaluate", f"{answer!r}")
            best = call(run.callback.best_step, expected="best_step() to work")
            if best is not None and best not in (3, 6, 9, 12)[: number + 1]:
                fault("the step of an evaluation, or None, from best_step", f"{best!r}",
                      "The checkpoint of that step becomes the model.")  # fmt: skip
        call(run.callback.on_stage, StageInfo(1, "two", 5, 1), run.model,
             expected="on_stage to work again for the second stage")  # fmt: skip
        words = call(lambda: run.callback.evaluated_weights, expected="evaluated_weights")
        if not (words is None or isinstance(words, str)):
            fault("words, or None", f"evaluated_weights is {words!r}")


@rule(
    contract=_CALLBACK,
    says="It never changes the model, except inside :meth:`evaluated_model`.",
    why="Only the main process calls it: the copies of several processes would drift apart.",
    needs=("calls",),
)
def changes_nothing(it: CallbackSubject) -> None:
    """The weights stay as they are through every hook."""
    with tempfile.TemporaryDirectory() as folder:
        run, plain = _Run(it, Path(folder)), _Run(it, Path(folder))
        run.begin()
        run.steps(1, 5)
        run.evaluate(4, 50.0)
        for step in range(1, 5):
            draw = torch.Generator().manual_seed(step)
            with torch.no_grad():
                for parameter in plain.model.parameters():
                    if parameter.requires_grad:
                        parameter.add_(torch.randn(parameter.shape, generator=draw))
            plain.model(torch.randn(5, 3, generator=draw))
        if changed := _different(plain.weights(), run.weights()):
            fault("the model as training left it", f"`{changed[0]}` is different")


@rule(
    contract=f"{_CALLBACK}.evaluated_model",
    says="Afterwards every tensor of the model is exactly as it was before.",
    why="Training goes on with these weights: a run that is evaluated more often would be another.",
    needs=("calls",),
)
def weights_come_back(it: CallbackSubject) -> None:
    """The weights of training are back, also after an error inside the context."""
    with tempfile.TemporaryDirectory() as folder:
        run = _Run(it, Path(folder))
        run.begin()
        run.steps(1, 5)
        before = run.weights()
        inside = run.evaluated()
        if changed := _different(before, run.weights()):
            fault("the weights as they were", f"`{changed[0]}` is different afterwards")
        if _different(before, inside) and run.callback.evaluated_weights is None:
            fault("evaluated_weights to say which weights are evaluated", "None",
                  "The manifest of a model says which weights it holds.")  # fmt: skip
        try:
            with run.callback.evaluated_model(run.model):
                raise KeyError("an evaluation that fails")
        except KeyError:
            pass
        if changed := _different(before, run.weights()):
            fault("the weights as they were after an error", f"`{changed[0]}` is different")


@rule(
    contract=f"{_CALLBACK}.load_state_dict",
    says="from here on both act the same",
    why="A run that was broken off would end with another model than an undisturbed one.",
    needs=("weights_come_back",),
)
def resumed(it: CallbackSubject) -> None:
    """Its state, written to a checkpoint and read again, gives the same weights and answers."""
    from engine.train.state import pack, unpack

    with tempfile.TemporaryDirectory() as folder:
        straight, other = _Run(it, Path(folder)), _Run(it, Path(folder))
        straight.begin()
        straight.steps(1, 5)
        straight.evaluate(4, 50.0)
        state = call(straight.callback.state_dict, expected="state_dict() to give a mapping")
        plain, tensors = call(
            pack, state, expected="a state of tensors, numbers, texts and lists of those"
        )
        kept = {name: tensor.clone() for name, tensor in tensors.items()}
        other.model.load_state_dict(straight.weights())
        call(other.callback.start, other.info(4), other.model, expected="start to work")
        call(other.callback.load_state_dict, unpack(json.loads(json.dumps(plain)), kept),
             expected="load_state_dict(state) to take it up")  # fmt: skip
        for number in range(1, 9):
            for run in (straight, other):
                run.steps(4 * number + 1, 4 * number + 5)
            if changed := _different(straight.evaluated(), other.evaluated()):
                fault("the same evaluated weights", f"`{changed[0]}` differs")
            answers = [run.evaluate(4 * number + 4, 50.0 - number) for run in (straight, other)]
            if answers[0] != answers[1]:
                fault("the same answers of on_evaluate", f"{answers[0]} and {answers[1]}")
            steps = [run.callback.best_step() for run in (straight, other)]
            if steps[0] != steps[1]:
                fault("the same best_step", f"{steps[0]} and {steps[1]}")


RULES = (calls, changes_nothing, weights_come_back, resumed)
