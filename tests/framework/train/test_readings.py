"""Between two readings no step waits for the device, and nothing that is not finite gets through.

The fake device is PyTorch's ``meta``: tensors without numbers, so every look at one is an error. On
the CPU the looks of a real run are counted, and its numbers compared to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from engine.clusters.assign import DatasetLabels
from engine.core.config.schema import EngineConfig
from engine.core.devices import to_device
from engine.errors import TrainingError
from engine.train import readings, setup
from engine.train.loop import Trainer
from engine.train.modalities import Group
from engine.train.readings import Readings, reading_interval
from engine.train.state import Position

from .conftest import Run, weights

Make = Callable[..., EngineConfig]
ALL = "train.stages.0.trains={vision: true, text: true}"
FROZEN = "train.stages.0.trains={text: {blocks: last 2}}"
LOSSES = (
    "train.stages.0.losses=[{use: contrastive}, {use: contrastive, equal_texts: masked},"
    " {use: sigmoid, equal_texts: masked}, {use: router}, {use: balance}]"
)
CLUSTERED = "model.projection.text={use: clustered, count: 3, of: {use: residual}, choice: soft}"


def labels(dataset: Any) -> DatasetLabels:
    texts = sum(len(dataset.record(i).queries) for i in range(len(dataset)))
    return DatasetLabels(np.arange(len(dataset)) % 3, np.arange(texts) % 3, 3)


# ---- a device that cannot be looked at ---------------------------------------------------------


def on_meta(groups: list[Group]) -> list[Group]:
    return [
        Group({name: t.to("meta") for name, t in group.state.items()}, group.rows)
        for group in groups
    ]


@pytest.mark.parametrize("trains", [ALL, FROZEN], ids=["full", "stage-1"])
@pytest.mark.parametrize(
    "more",
    [
        (LOSSES, CLUSTERED),
        ("train.stages.0.clip_gradients=1.0", "train.stages.0.chunk_size=4"),
        ("train.queries=mean", "train.stages.0.optimizer={use: sgd, lr: 0.1}"),
        ("train.stages.0.optimizer={use: adam}",),
    ],
    ids=["losses", "chunks", "means", "adam"],
)
def test_steps_never_look_at_the_device(
    make_config: Make, trained: Run, monkeypatch: pytest.MonkeyPatch, trains: str,
    more: tuple[str, ...],
) -> None:  # fmt: skip
    config = make_config(trains, *more, "train.log_every=50")
    trainer, _ = trained(config, run=False, labels=labels)
    plan, meta = trainer.prepare()[0], torch.device("meta")
    inputs, batches = _read_on_the_cpu(trainer, plan, monkeypatch)
    monkeypatch.setattr(setup, "StageInputs", lambda *_: inputs)
    trainer.model.to(meta)
    trainer.readings = Readings(50)
    stage = trainer._open_stage(plan, 0)
    for loss in stage.losses.values():
        loss.to(meta)
    stage.meter._sum = stage.meter._sum.to(meta)
    for drawn in batches:
        measured = trainer._step(stage, drawn)
        assert measured is not None
        assert measured.loss.is_meta
        stage.meter.count(measured, 16)
        pending = stage.meter.pending(measured)  # a line's numbers stay there as well
        assert all(value.is_meta and value.dim() == 0 for value in pending.values())
    copies: list[torch.Tensor] = []

    def read(numbers: torch.Tensor) -> list[float]:
        copies.append(numbers)
        return [1.0] * len(numbers)

    monkeypatch.setattr(readings, "read_numbers", read)
    trainer._read(stage, pending)
    assert len(copies) == 1
    assert copies[0].is_meta
    assert stage.health.taken == len(batches)
    stage.inputs.close()


def _read_on_the_cpu(
    trainer: Trainer, plan: Any, monkeypatch: pytest.MonkeyPatch
) -> tuple[Any, list[Any]]:
    """The inputs of a stage and two batches, whose states go to the fake device when asked for."""
    inputs = trainer._open_stage(plan, 0).inputs
    order = inputs.order(0)
    batches = [drawn for drawn, _ in zip(inputs.batches(order, 0), range(2), strict=False)]
    texts, known = inputs.texts, {}
    for drawn in batches:
        assert drawn.batch is not None
        drawn.batch.images[:] = on_meta(drawn.batch.images)
        rows = texts.distinct(drawn.batch.texts)[0]
        known[rows.tobytes()] = on_meta(texts.groups(rows))
    tokens = texts.tokens
    monkeypatch.setattr(texts, "groups", lambda rows: known[rows.tobytes()])
    monkeypatch.setattr(
        texts, "tokens", lambda rows: {n: t.to("meta") for n, t in tokens(rows).items()}
    )
    return inputs, batches


def test_the_fake_device_shows_a_look() -> None:
    """What the tests above stand on."""
    there = torch.ones(3, device="meta")
    for look in (
        lambda: float(there.sum()),
        lambda: bool((there > 0).all()),
        there.tolist,
        there.cpu,
        there.nonzero,
        lambda: there[there > 0],
        lambda: torch.bincount(there.long(), minlength=3),
        lambda: torch.repeat_interleave(there.long()),
    ):
        with pytest.raises((RuntimeError, NotImplementedError)):
            look()


def test_copies_to_a_gpu_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def to(self: torch.Tensor, *arguments: Any, **named: Any) -> torch.Tensor:
        asked.append((arguments, named))
        return self

    monkeypatch.setattr(torch.Tensor, "to", to)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: asked.append("pinned") or self)
    cuda = torch.device("cuda", 1)
    to_device(torch.ones(2), cuda)
    assert asked == ["pinned", ((cuda,), {"non_blocking": True})]


# ---- real runs ---------------------------------------------------------------------------------


class Looks(TorchDispatchMode):
    """Counts what would wait for a GPU: numbers that the host reads, sizes that depend on them."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "bincount", "unique", "equal")

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func.overloadpacket.__name__
        self.count += any(name.startswith(each) for each in self.WAITING)
        return func(*args, **(kwargs or {}))


def looks(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """What waits in the steps of a run, and how often the numbers of steps are read."""
    counter, read, real = Looks(), [], trainer._step

    def step(*arguments: Any) -> Any:
        with counter:
            return real(*arguments)

    def numbers(tensor: torch.Tensor) -> list[float]:
        read.append(len(tensor))
        found: list[float] = tensor.tolist()
        return found

    trainer._step = step  # type: ignore[method-assign]
    with monkeypatch.context() as patch:
        patch.setattr(readings, "read_numbers", numbers)
        trainer.run()
    return counter.count, len(read)


@pytest.mark.parametrize("trains", [ALL, FROZEN], ids=["full", "stage-1"])
@pytest.mark.parametrize("every", [4, 8])
def test_one_reading_every_so_many_steps_and_the_same_weights(
    make_config: Make, trained: Run, monkeypatch: pytest.MonkeyPatch, trains: str, every: int
) -> None:
    config = make_config(
        trains, LOSSES, CLUSTERED, f"train.log_every={every}", "train.stages.0.epochs=null",
        "train.stages.0.steps=24", "train.stages.0.batch_size=2", "train.evaluate_every=0",
    )  # fmt: skip
    whole, heard = trained(config, labels=labels)
    trainer, read = trained(config, run=False, labels=labels)
    trainer.readings = Readings(every)
    waits, count = looks(trainer, monkeypatch)
    assert waits == 0
    assert count == 24 // every
    assert read.losses == heard.losses
    other = weights(trainer)
    assert all(torch.equal(tensor, other[name]) for name, tensor in weights(whole).items())
    assert trainer.stage is None
    assert trainer.state.finished_stages[0]["loss"] == whole.state.finished_stages[0]["loss"]


def test_on_the_cpu_every_step_is_checked_before_it_is_taken(
    make_config: Make, trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, _ = trained(make_config(ALL, "train.log_every=6"), run=False)
    assert trainer.readings.at_once
    waits, _ = looks(trainer, monkeypatch)
    assert waits >= 6  # so the counter counts


def test_the_interval() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert reading_interval(cpu, 10, False, False) == 1
    assert reading_interval(cuda, 10, False, True) == 10
    assert reading_interval(cuda, 10, True, False) == 10
    assert reading_interval(cuda, 10, True, True) == 1  # callbacks see taken steps alone
    assert reading_interval(cuda, 10**6, False, False) == 1000


def spoil(trainer: Trainer, step: int, value: float, where: str) -> None:
    """Let the loss or a gradient of a step be another number."""
    real = trainer._apply

    def apply(stage: Any, measured: Any, rows: Any) -> None:
        if trainer.state.at.step == step:
            if where == "loss":
                next(iter(measured.losses.values())).fill_(value)
                measured.loss.fill_(value)
            else:
                stage.optimizer.parameters[0].grad.view(-1)[0] = value
        real(stage, measured, rows)

    trainer._apply = apply  # type: ignore[method-assign]


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["loss", "gradient"])
@pytest.mark.parametrize(
    ("step", "log_every", "save_steps", "found"),
    [(2, 4, 100, 4), (2, 100, 3, 3), (4, 100, 100, 6), (5, 100, 100, 6)],
    ids=["at-the-line", "before-a-checkpoint", "at-the-end-of-the-epoch", "last-step"],
)
def test_what_is_not_finite_is_found_at_the_next_reading(
    make_config: Make, trained: Run, tmp_path: Path, value: float, where: str, step: int,
    log_every: int, save_steps: int, found: int,
) -> None:  # fmt: skip
    config = make_config(
        f"train.log_every={log_every}", f"train.save_steps={save_steps}",
        "train.stages.0.batch_size=8",
    )  # fmt: skip
    trainer, _ = trained(config, run=False)
    trainer.readings = Readings(log_every)
    spoil(trainer, step, value, where)
    with pytest.raises(TrainingError) as caught:
        trainer.run()
    message = caught.value.message
    assert f"(step {step + 1})" in message
    assert f"after step {found}; the weights are not saved" in message
    assert ("the loss `contrastive` is" if where == "loss" else "the gradient is") in message
    assert "images " in message
    for saved in trainer.checkpoints.steps():
        assert saved <= step


def test_float16_is_checked_at_the_reading_too(make_config: Make, trained: Run) -> None:
    config = make_config("train.precision=float16", "train.stages.0.epochs=20")
    trainer, _ = trained(config, run=False)
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=16.0)
    trainer.readings = Readings(10)
    real = trainer._apply

    def apply(stage: Any, measured: Any, rows: Any) -> None:
        if trainer.state.at.step in {1, 2} or trainer.state.at.step >= 20:
            stage.optimizer.parameters[0].grad.view(-1)[0] = math.inf
        real(stage, measured, rows)

    trainer._apply = apply  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match="not finite in float16 in 3 steps"):
        trainer.run()
    assert trainer.stage is None


def test_numbers_come_in_the_order_in_which_they_were_kept() -> None:
    kept = Readings(2)
    for step in range(2):
        losses = {"a": torch.tensor(1.0 + step), "b": torch.tensor(2.0 + step)}
        scaling = [torch.tensor(step == 1), torch.tensor(8.0)]
        numbers = [torch.tensor(3.0 + step), torch.tensor(0.5), *scaling]
        kept.keep(Position(step=step), np.array([step]), losses, numbers)
    assert kept.full
    steps, more = kept.read({"x": torch.tensor(7.0), "y": torch.tensor(8)})
    assert more == {"x": 7.0, "y": 8.0}
    assert [step.at.step for step in steps] == [0, 1]
    assert steps[1].losses == {"a": 2.0, "b": 3.0}
    assert (steps[1].loss, steps[1].norm, steps[1].skipped, steps[1].scale) == (4.0, 0.5, True, 8.0)
    assert not steps[0].skipped
    assert kept.read({}) == ([], {})
    assert not kept.full
