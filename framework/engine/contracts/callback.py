"""Callbacks: what accompanies a run of training and keeps a state of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from engine.contracts.training import RunInfo
from engine.contracts.training_settings import CallbackSettings


@dataclass(frozen=True)
class StageInfo:
    """What a callback is given of a stage that begins.

    Attributes:
        index: number of the stage, from 0.
        name: its name in the config.
        steps: steps of the whole stage.
        epochs: passes over the data.
    """

    index: int
    name: str
    steps: int
    epochs: int


class Callback(ABC):
    """Accompanies a run: sees every step and every evaluation, and may ask to end a stage early.

    Called in the main process only, in the order of the config. It never changes the model, except
    inside :meth:`evaluated_model`. What it raises ends the run.
    """

    needs_evaluation: ClassVar[bool] = False
    """Whether it does nothing useful without evaluations. A config that has such a callback and no
    ``data.evaluate`` is refused before training starts."""

    def __init__(self, settings: CallbackSettings) -> None:
        self.settings = settings

    @property
    def evaluated_weights(self) -> str | None:
        """Which weights :meth:`evaluated_model` puts in place, in words; ``None`` for none.

        The manifest of the trained model repeats it.
        """
        return None

    def start(self, run: RunInfo, model: nn.Module) -> None:  # noqa: B027 - optional hooks
        """Called once before the first step, also where a run goes on (``run.step`` is not 0 then).

        Where the run goes on, :meth:`load_state_dict` is called right after.
        """

    def on_stage(self, stage: StageInfo, model: nn.Module) -> None:  # noqa: B027
        """A stage begins: exactly its parameters require gradients.

        Not called again where a run goes on within the stage.
        """

    def on_step(  # noqa: B027
        self, step: int, model: nn.Module, values: Mapping[str, float]
    ) -> None:
        """A step has changed the weights.

        Args:
            step: of the run, from 1.
            model: after the step.
            values: ``loss``, ``lr``, and ``loss_<name>`` of every loss. Reading a loss waits for
                the device, so read only what is needed.
        """

    def on_evaluate(self, step: int, scores: Mapping[str, float], model: nn.Module) -> bool | None:
        """The model was evaluated.

        Args:
            step: of the run.
            scores: by name, for example ``accuracy`` in percent.
            model: with the weights of training, not those of :meth:`evaluated_model`.

        Returns:
            ``True`` to end the stage here; anything else to go on.

        Raises:
            ConfigError: a score that the settings name is not there.
        """
        return None

    def best_step(self) -> int | None:
        """The step whose weights are the best so far by this callback's measure.

        Asked after :meth:`on_evaluate`: the step that was evaluated just now, or what was answered
        before. Its checkpoint is kept as ``RUN@best``, and its weights become ``RUN/model``.
        ``None``: this callback does not choose weights; ``RUN@best`` is the step of the best
        accuracy then.
        """
        return None

    def evaluated_model(self, model: nn.Module) -> AbstractContextManager[None]:
        """Inside this context the model has the weights to be evaluated and, at the end, kept.

        Afterwards every tensor of the model is exactly as it was before. By default the weights of
        training themselves are evaluated and kept.
        """
        return nullcontext()

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything that the callback needs to go on; it is written to every checkpoint.

        Tensors, numbers, texts, ``None``, and lists, tuples and mappings of those. Training copies
        the tensors.
        """

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`state_dict` gave, in a new object: from here on both act the same.

        Tensors come on the CPU.
        """
