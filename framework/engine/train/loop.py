"""The recipe: stages of epochs of steps, evaluated and saved on the way.

Read :meth:`Trainer.run` first. Everything random in a step is a pure function of the config's seed,
the stage, the epoch and the step, so a run that goes on from a checkpoint repeats what an
undisturbed one does, bit for bit on the same machine with the same threads.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine.contracts.training import Logger, Rows, RunInfo
from engine.core.build import Built
from engine.core.config.schema import EngineConfig
from engine.train import faults, saving
from engine.train.checkpoint import Checkpoints
from engine.train.data import TrainingRows, draws, seed_of
from engine.train.device import (
    apply_threads,
    autocast,
    choose_device,
    choose_dtype,
    compile_blocks,
    keep_freed_memory,
    make_scaler,
    seed_step,
)
from engine.train.distribution import Processes
from engine.train.evaluator import Evaluator
from engine.train.folder import RunFolder
from engine.train.health import Watched
from engine.train.history import History
from engine.train.interrupt import Interrupt
from engine.train.names import CHECKPOINTS
from engine.train.setup import StagePlan, StageRun, plan_stages
from engine.train.stages import freeze, rate_at
from engine.train.step import StepOutput, gradient_norm, limit_scale


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


class Trainer:
    """Trains a model in a run's folder.

    Args:
        built: the model; it is trained in place.
        data: the training data.
        folder: of the run; exists.
        evaluator: evaluates the model, ``None`` where there is nothing to evaluator it on.
        loggers: beside the history.
        processes: this process among the others.
        place: the folder that a new run takes, at once or at its first checkpoint; by default the
            folder is the run's already.
    """

    def __init__(
        self,
        built: Built,
        data: TrainingRows,
        folder: Path,
        *,
        evaluator: Evaluator | None = None,
        loggers: tuple[Logger, ...] = (),
        processes: Processes | None = None,
        place: RunFolder | None = None,
    ) -> None:
        assert built.config.train is not None
        self.built, self.model, self.data, self.folder = built, built.model, data, folder
        self.config: EngineConfig = built.config
        self.settings = built.config.train
        self.evaluator, self.loggers = evaluator, loggers
        self.processes = processes or Processes()
        self.device = choose_device(self.settings.device, self.processes.local_rank)
        self.dtype = choose_dtype(self.settings.precision, self.device)
        self.autocast = autocast(self.device, self.dtype)
        self.scaler = make_scaler(self.device, self.dtype)
        self.place = place or RunFolder(folder, replaces=False)
        self.checkpoints = Checkpoints(folder / CHECKPOINTS, self.settings.keep)
        self.at, self.best, self.best_step = Position(), -1.0, None
        self.finished_stages: list[dict[str, Any]] = []
        self.trained: set[str] = set()
        self.loss_states: dict[str, dict[str, torch.Tensor]] = {}
        self.stage: StageRun | None = None
        self._waiting_notes: list[str] = []
        self._history: History | None = None
        self._saved_at = time.monotonic()
        self._saved: tuple[int, int] | None = None

    best_step: int | None

    def run(self, *, resume: bool = False) -> None:
        """Train all stages, from the beginning or from the last checkpoint.

        Raises:
            TrainingError: a loss, a gradient or a weight was not finite (the last good state is
                saved); no picture could be read; a checkpoint of another config or of other data;
                the disk is full.
            KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM came (the state is saved).
        """
        apply_threads(self.settings)
        if self.device.type == "cpu":
            keep_freed_memory()
        self.processes.start(self.device)
        self.model.to(self.device)
        if self.settings.compile:
            compile_blocks(self.model, self.device)
        plans = plan_stages(self.config, self.data, self.model, self.processes.count)
        self.watched = Watched(self.model)
        checkpoint = self.checkpoints.last(self.note) if resume else None
        if checkpoint is not None:
            saving.restore_model(self, checkpoint)
        self._begin(plans)
        try:
            with Interrupt() as interrupt:
                self._interrupt = interrupt
                while self.at.stage < len(plans):
                    self._run_stage(plans[self.at.stage], checkpoint)
                    checkpoint = None
        finally:
            self._end()

    def _begin(self, plans: list[StagePlan]) -> None:
        self.steps = sum(plan.steps for plan in plans)
        if not self.processes.main:
            return
        if not self.place.replaces:
            self.place.take()
        self.checkpoints.folder = self.place.place / CHECKPOINTS
        self._history = History(self.place.place, self.at.step, len(self.finished_stages))
        info = RunInfo(
            folder=self.folder,
            name=self.config.name,
            steps=self.steps,
            step=self.at.step,
            config=self.config.model_dump(mode="json", by_alias=True),
        )
        for logger in self.loggers:
            logger.start(info)
        for text in self._waiting_notes:
            self.note(text)
        if self.data.without_text:
            self.note(f"{self.data.without_text} rows without any text are left out")

    def _end(self) -> None:
        if self.stage is not None:
            self.stage.close()
            self.stage = None
        for logger in self.loggers if self._history else ():
            logger.close()
        if self._history:
            self._history.close()
        self.processes.stop()

    # ---- a stage --------------------------------------------------------------------------------

    def _run_stage(self, plan: StagePlan, checkpoint: Any) -> None:
        number = self.at.stage
        freeze(self.model, plan.settings.trains, plan.where)
        self.trained |= {n for n, p in self.model.named_parameters() if p.requires_grad}
        stage = self.stage = StageRun(self, plan, number)
        if checkpoint is not None and self.at.stage_step:
            saving.restore_optimizer(self, stage, checkpoint)
        if not self.at.stage_step:
            self.note(f"stage {number + 1}, {plan.settings.name}: {stage.describe()}")
        # A checkpoint of the last step, before its evaluation, is within an epoch that has no step
        # left: that epoch is ended here, and evaluated.
        while self.at.epoch < plan.epochs and (self.at.stage_step < plan.steps or self.at.batch):
            self._run_epoch(stage)
            faults.check_finite(self, stage)
            self.at.epoch, self.at.batch = self.at.epoch + 1, 0
            every = self.settings.evaluate_every
            last = self.at.epoch == plan.epochs or self.at.stage_step >= plan.steps
            if last or (every and self.at.epoch % every == 0):
                self._evaluate()
        if not stage.health.taken:
            faults.never_stepped(self, stage)
        self._end_stage(stage)

    def _end_stage(self, stage: StageRun) -> None:
        self.loss_states |= {
            name: {k: v.detach().clone() for k, v in loss.state_dict().items()}
            for name, loss in stage.losses.items()
        }
        self.finished_stages.append(stage.summary(self.at.epoch, self.at.stage_step))
        self.history({"finished_stage": stage.number, **self.finished_stages[-1]})
        stage.close()
        self.stage = None
        step = self.at.step
        self.at = Position(stage=stage.number + 1, step=step)
        self.save()

    def _run_epoch(self, stage: StageRun) -> None:
        batches = stage.batches(self.at.epoch)
        seed = self.config.seed
        drawn = draws(seed_of(seed, "queries", stage.number, self.at.epoch), len(self.data))
        views = draws(seed_of(seed, "views", stage.number, self.at.epoch), len(self.data))
        stage.begin_epoch(batches, views, self.at.batch)
        first, before = self.at.batch, stage.meter.spent[1]
        while self.at.batch < len(batches) and self.at.stage_step < stage.plan.steps:
            rows = batches[self.at.batch]
            measured = self._step(stage, rows, drawn, views)
            self.at.batch += 1
            self.at.stage_step += 1
            self.at.step += 1
            if measured is not None:
                self._log(stage, measured, len(rows))
            told = self.processes.all_gather(self._interrupt.asked, self._due())
            stop, due = int(told[:, 0].max()), bool(told[0, 1])  # what is due, the first one knows
            if stop or due:
                faults.check_finite(self, stage)
                self.save()
            if stop:
                self._interrupt.leave(stop)
        if not first and self.at.batch == len(batches) and stage.meter.spent[1] == before:
            faults.no_pictures(self, stage)

    # ---- a step ---------------------------------------------------------------------------------

    def _step(self, stage: StageRun, rows: Rows, drawn: Any, views: Any) -> StepOutput | None:
        """One optimisation step; ``None`` where too few pictures of the batch are whole."""
        at = self.at
        stage.read_ahead(at.batch, views)
        own = self.processes.shard(rows)
        good, images = stage.images.groups(stage.picture_numbers(own, views))
        stage.counts = self.processes.all_gather(int(good.sum()))[:, 0].tolist()
        if min(stage.counts) == 0 or sum(stage.counts) < 2:
            self.note(f"batch left out: {len(rows) - sum(stage.counts)} of its images are broken")
            return None
        seed_step(seed_of(self.config.seed, "step", at.stage, at.epoch, at.batch,
                          self.processes.rank))  # fmt: skip
        stage.optimizer.zero_grad(set_to_none=True)
        stage.statistics.keep()
        batch = stage.batch(images, own[good], drawn)
        measured = stage.step.run(batch, self.scaler.scale)
        self.processes.all_reduce_grads(*stage.parameters)
        self._apply(stage, measured, rows)
        return measured

    def _apply(self, stage: StageRun, measured: StepOutput, rows: Rows) -> None:
        """Check that all is finite, then change the weights."""
        self.scaler.unscale_(stage.optimizer)
        norm = gradient_norm(stage.every)
        finite = bool(torch.isfinite(measured.loss)) and (
            self.scaler.is_enabled() or bool(torch.isfinite(norm))
        )
        if not finite:
            faults.diverged(self, stage, faults.not_finite(measured, norm), rows)
        largest = stage.plan.settings.clip_gradients
        if largest is not None:
            torch.nn.utils.clip_grads_with_norm_(stage.every, largest, norm)
        factor = rate_at(
            self.at.stage_step, stage.plan.steps, stage.plan.epochs, stage.plan.settings.schedule
        )
        for group in stage.optimizer.param_groups:
            group["lr"] = stage.plan.settings.optimizer.lr * factor
        before = self.scaler.get_scale()
        self.scaler.step(stage.optimizer)
        self.scaler.update()
        scale = self.scaler.get_scale()
        skipped = scale < before
        if not skipped:
            limit_scale(self.model, self.settings.max_scale)
        stage.health.count(skipped)
        if stage.health.diverged(scale):
            faults.diverged(self, stage, stage.health.describe(), rows)

    # ---- what is told ---------------------------------------------------------------------------

    def _log(self, stage: StageRun, measured: StepOutput, rows: int) -> None:
        stage.meter.count(measured, rows)
        if self.at.step % self.settings.log_every and self.at.stage_step < stage.plan.steps:
            return
        values = stage.meter.line(measured, float(stage.optimizer.param_groups[0]["lr"]))
        speed = values["samples_per_second"]
        left = (self.steps - self.at.step) * stage.plan.settings.batch_size
        values["seconds_left"] = left / speed if speed else 0.0
        self.history({"stage": self.at.stage, "epoch": self.at.epoch, **values})
        for logger in self.loggers if self.processes.main else ():
            logger.log(self.at.step, values)

    def _evaluate(self) -> None:
        stage = self.stage
        assert stage is not None
        if self.evaluator is None or not self.processes.main:
            self.processes.barrier()
            return
        started = time.monotonic()
        scores = dict(self.evaluator())
        freeze(self.model, stage.plan.settings.trains, stage.plan.where)  # the modes again
        stage.scores = scores
        self.history({"stage": self.at.stage, "epoch": self.at.epoch - 1, **scores})
        for logger in self.loggers:
            logger.log(self.at.step, scores)
        if scores.get("accuracy", -1.0) > self.best:
            self.best, self.best_step = scores["accuracy"], self.at.step
            self.save()
        stage.meter.pause(time.monotonic() - started)
        self.processes.barrier()

    def history(self, values: Mapping[str, Any]) -> None:
        """Write a line of the history, in the main process."""
        if self._history is not None:
            self._history.write(self.at.step, values)

    def note(self, text: str) -> None:
        """Tell that something happened, in the main process."""
        if self._history is None:
            self._waiting_notes.append(text)
            return
        self.history({"note": text})
        for logger in self.loggers:
            logger.note(self.at.step, text)

    # ---- checkpoints ----------------------------------------------------------------------------

    def _due(self) -> bool:
        if self.place.staged:
            return True
        steps = self.settings.save_steps
        if steps is not None and self.at.step % steps == 0:
            return True
        return time.monotonic() - self._saved_at >= 60 * self.settings.save_minutes

    def save(self) -> None:
        """Write a checkpoint of this moment, in the main process."""
        if not self.processes.main or self._saved == (self.at.step, self.at.stage):
            return
        state, tensors = saving.snapshot(self)
        self.checkpoints.save(self.at.step, state, tensors, self.best_step)
        if self.place.staged:
            self.place.take()
            self.checkpoints.folder = self.folder / CHECKPOINTS
        self._saved_at, self._saved = time.monotonic(), (self.at.step, self.at.stage)
