"""The callbacks of a run, called in the order of the config."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from engine.contracts.callback import Callback, StageInfo
from engine.contracts.training import RunInfo
from engine.errors import ConfigError, TrainingError


class StepValues(Mapping[str, float]):
    """The numbers of a step, each read from its device when it is asked for."""

    def __init__(self, values: Mapping[str, Tensor | float]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> float:
        return float(self._values[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class Callbacks:
    """Several callbacks as one.

    Args:
        callbacks: by the names of the plugins, in the order of the config; empty in all processes
            but the main one.
        model: the model that is trained.
    """

    def __init__(self, callbacks: Sequence[tuple[str, Callback]], model: nn.Module) -> None:
        self._callbacks, self._model = tuple(callbacks), model

    def check(self, *, evaluated: bool, keep_best: bool = False) -> None:
        """Refuse what cannot work in this run.

        Args:
            evaluated: whether there is data to evaluate on.
            keep_best: the config asks for the weights of the best evaluation.

        Raises:
            ConfigError: evaluations are needed, and there are none.
        """
        if keep_best and not evaluated:
            raise ConfigError(
                "train.keep: `best` needs evaluations, and `data.evaluate` names no data set",
                hint="name one there, or write `keep: last`",
            )
        for name, callback in self._callbacks:
            if callback.needs_evaluation and not evaluated:
                raise ConfigError(
                    f"train.callbacks: `{name}` needs evaluations, and `data.evaluate` names no"
                    " data set",
                    hint="name one there, or leave the callback out",
                )

    def start(self, run: RunInfo, states: Sequence[Mapping[str, Any]] | None) -> None:
        """Start every callback, and give it the state of a checkpoint where there is one.

        Raises:
            TrainingError: a callback cannot take up its state.
        """
        for number, (name, callback) in enumerate(self._callbacks):
            callback.start(run, self._model)
            if states is None:
                continue
            try:
                callback.load_state_dict(states[number])
            except (LookupError, TypeError, ValueError, RuntimeError) as error:
                raise TrainingError(
                    f"train.callbacks.{number}: `{name}` cannot take up its state from the"
                    f" checkpoint ({type(error).__name__}: {error})",
                    hint="go on with the version of the plugin that the run was started with",
                ) from error

    def on_stage(self, stage: StageInfo) -> None:
        """A stage begins."""
        for _, callback in self._callbacks:
            callback.on_stage(stage, self._model)

    def on_step(self, step: int, values: Mapping[str, Tensor | float]) -> None:
        """A step has changed the weights."""
        for _, callback in self._callbacks:
            callback.on_step(step, self._model, StepValues(values))

    def on_evaluate(self, step: int, scores: Mapping[str, float]) -> list[str]:
        """The model was evaluated; gives the names of those that ask to end the stage."""
        return [
            name
            for name, callback in self._callbacks
            if callback.on_evaluate(step, scores, self._model) is True
        ]

    @property
    def chooses(self) -> str | None:
        """The name of the callback that says which step is the best, the first of several."""
        return next((name for name, each in self._callbacks if each.best_step() is not None), None)

    def best_step(self) -> int | None:
        """The best step so far, where a callback says which one it is."""
        found = (callback.best_step() for _, callback in self._callbacks)
        return next((step for step in found if step is not None), None)

    @contextlib.contextmanager
    def evaluated_model(self) -> Iterator[None]:
        """The model with the weights that are evaluated, and kept at the end."""
        with contextlib.ExitStack() as stack:
            for _, callback in self._callbacks:
                stack.enter_context(callback.evaluated_model(self._model))
            yield

    def keep_evaluated(self) -> str | None:
        """Leave in the model the weights that are evaluated; gives their description.

        Returns:
            ``None`` where they are the weights of training themselves.
        """
        words = [c.evaluated_weights for _, c in self._callbacks if c.evaluated_weights]
        if not words:
            return None
        with self.evaluated_model():
            kept = {name: t.detach().clone() for name, t in self._model.state_dict().items()}
        with torch.no_grad():
            for name, tensor in self._model.state_dict().items():
                tensor.copy_(kept[name])
        return ", then ".join(words)

    def states(self) -> list[dict[str, Any]]:
        """What every callback needs to go on."""
        return [dict(callback.state_dict()) for _, callback in self._callbacks]
