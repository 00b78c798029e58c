"""The state of a run: everything that a checkpoint holds, in one type.

What a checkpoint holds is changed here and in :mod:`engine.train.snapshot`, which
collects it; nowhere else. Every field is written by the same rule, see :func:`pack`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from torch import Tensor

from engine.errors import TrainingError
from engine.train.checkpoint import Checkpoint

_TENSOR, _TUPLE, _MAPPING = "$tensor", "$tuple", "$mapping"
_MARKS = frozenset({_TENSOR, _TUPLE, _MAPPING})
_MAX_DEPTH = 50
"""Nesting of what a plugin may keep; deeper values are refused instead of a RecursionError."""


@dataclass
class Position:
    """Where a run is: so many batches of an epoch of a stage are done.

    Attributes:
        stage: from 0; one more than the last when the run is over.
        epoch: of the stage.
        batch: batches of the epoch that are done.
        stage_step: steps of the stage that are done.
        step: steps of the run that are done.
    """

    stage: int = 0
    epoch: int = 0
    batch: int = 0
    stage_step: int = 0
    step: int = 0


@dataclass
class StageState:
    """What belongs to the stage under way.

    Attributes:
        optimizer: moments and groups, see :mod:`engine.train.moments`.
        meter: what was measured since the last line, see :class:`engine.train.meter.Meter`.
        scores: the last evaluation.
        scored_at: its step; 0 before the first.
        taken: steps that changed the weights.
        skipped: steps in a row, up to the last one, that the gradient scaler left out.
        stopped: a callback asked to end the stage.
    """

    optimizer: dict[str, Any]
    meter: dict[str, float]
    scores: dict[str, float]
    scored_at: int
    taken: int
    skipped: int
    stopped: bool


@dataclass
class TrainingState:
    """A run at one moment.

    Attributes:
        at: the position.
        best: the best accuracy so far in percent, -1 before the first evaluation.
        best_step: the step of that accuracy, or the one that a callback names.
        steps: of the whole run.
        finished_stages: the summaries of the stages that are over, JSON types.
        trained: names of the parameters that any stage has trained so far.
        losses: the state dicts of the losses by name, also of stages that are over: a loss of the
            same name goes on with what it learned.
        weights: what training changes of the model's state dict.
        scaler: of the gradient scaler; empty where there is none.
        callbacks: the states of the callbacks, in the order of the config.
        stage: of the stage under way; ``None`` between stages.
        config: what may not change between a checkpoint and the run that goes on from it.
        data: what the training data held, as digests.
        threads: of arithmetic; another number changes the last bits.
        next_row: where the next batch begins, ``shard`` and ``row``; ``None`` between epochs.
    """

    at: Position = field(default_factory=Position)
    best: float = -1.0
    best_step: int | None = None
    steps: int = 0
    finished_stages: list[dict[str, Any]] = field(default_factory=list)
    trained: set[str] = field(default_factory=set)
    losses: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)
    callbacks: list[dict[str, Any]] = field(default_factory=list)
    stage: StageState | None = None
    config: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] | None = None
    threads: int = 0
    next_row: dict[str, int] | None = None

    def take_accuracy(self, accuracy: float, named: int | None) -> bool:
        """Take in an evaluation; whether its step is the best so far.

        Args:
            accuracy: in percent; -1 where there is none.
            named: the best step, where a callback says which one it is.
        """
        better, step = accuracy > self.best, self.at.step
        self.best = max(accuracy, self.best)
        best = (better and named is None) or (named == step and named != self.best_step)
        if best:
            self.best_step = step
        return best

    def to_checkpoint(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """JSON types, and the tensors that they name.

        Raises:
            TrainingError: a plugin keeps something that a checkpoint cannot hold; names its place.
        """
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        plain["at"] = vars(self.at)
        plain["trained"] = sorted(self.trained)
        plain["stage"] = None if self.stage is None else vars(self.stage)
        return pack(plain)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> TrainingState:
        """The state that :meth:`to_checkpoint` wrote.

        Raises:
            TrainingError: a field is missing or has another form.
        """
        try:
            plain = unpack(
                {each.name: checkpoint.state[each.name] for each in fields(cls)},
                checkpoint.tensors,
            )
            plain["at"] = Position(**plain["at"])
            plain["trained"] = set(plain["trained"])
            if plain["stage"] is not None:
                plain["stage"] = StageState(**plain["stage"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TrainingError(
                f"the checkpoint of step {checkpoint.step} is not one that this Engine can go on"
                f" from ({type(error).__name__}: {error})",
                hint="go on with the Engine that wrote it, or `--force` starts the run again",
            ) from error
        return cls(**plain)


def weights_in_words(averaged: str | None, state: TrainingState) -> str:
    """Which weights these are, as the manifest of a trained model says it.

    Args:
        averaged: what callbacks made of them, in words.
        state: the run at that moment.
    """
    words = f"{averaged or 'weights'} after step {state.at.step} of {state.steps}"
    return f"{words}, the best evaluation" if state.best_step == state.at.step else words


def pack(value: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Split nested values into JSON types and tensors.

    A tensor becomes ``{"$tensor": name}``, where the name is the dotted path to it; a tuple becomes
    ``{"$tuple": [...]}``; a mapping whose keys are not texts, or are one of these marks, becomes
    ``{"$mapping": [[key, value], ...]}``. :func:`unpack` gives the same values back.

    Raises:
        TrainingError: something else is among them, or the nesting is too deep; names the place.
    """
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = _packed(value, (), tensors)
    return plain, tensors


def _packed(value: Any, path: tuple[str, ...], tensors: dict[str, Tensor]) -> Any:
    if len(path) > _MAX_DEPTH:
        raise TrainingError(f"{'.'.join(path[:6])}: nested too deeply for a checkpoint")
    if isinstance(value, Tensor):
        name, count = ".".join(path), 2
        while name in tensors:  # `a.b` + `c` and `a` + `b.c` have one path
            name, count = f"{'.'.join(path)}~{count}", count + 1
        tensors[name] = value.detach()
        return {_TENSOR: name}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        items = [(key, _packed(item, (*path, str(key)), tensors)) for key, item in value.items()]
        if all(isinstance(key, str) for key in value) and not _MARKS & value.keys():
            return dict(items)
        return {_MAPPING: [[_key(key, path), item] for key, item in items]}
    if isinstance(value, (list, tuple)):
        packed = [_packed(item, (*path, str(i)), tensors) for i, item in enumerate(value)]
        return {_TUPLE: packed} if isinstance(value, tuple) else packed
    raise TrainingError(
        f"{'.'.join(path)}: a checkpoint cannot hold a {type(value).__name__}",
        hint="the plugin's state may hold tensors, numbers, texts, None, lists, tuples, mappings",
    )


def _key(key: Any, path: tuple[str, ...]) -> Any:
    if isinstance(key, (str, int, float, bool)):
        return key
    raise TrainingError(
        f"{'.'.join(path)}: a checkpoint cannot hold a mapping with a {type(key).__name__} as key"
    )


def unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The values that :func:`pack` was given.

    Raises:
        KeyError: a tensor is missing.
    """
    if isinstance(value, list):
        return [unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_TENSOR}:
        return tensors[value[_TENSOR]]
    if value.keys() == {_TUPLE}:
        return tuple(unpack(item, tensors) for item in value[_TUPLE])
    if value.keys() == {_MAPPING}:
        return {key: unpack(item, tensors) for key, item in value[_MAPPING]}
    return {key: unpack(item, tensors) for key, item in value.items()}
