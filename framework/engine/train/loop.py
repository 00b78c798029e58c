"""The recipe: stages of epochs of steps, evaluated and saved on the way.

Read :meth:`Trainer.run` first, then downwards. Everything random in a step is a pure function of
the config's seed, the stage, the epoch and the step, so a run that goes on from a checkpoint
repeats what an undisturbed one does, bit for bit on the same machine with the same threads.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch

from engine.contracts.callback import Callback, StageInfo
from engine.contracts.training import Logger, Rows, RunInfo
from engine.core.build import Built
from engine.data.seeds import seed_of
from engine.train.callbacks import Callbacks
from engine.train.checkpoint import Checkpoints
from engine.train.data import TrainingRows
from engine.train.device import (
    autocast,
    choose_device,
    choose_dtype,
    make_scaler,
    place_model,
    seed_step,
)
from engine.train.distribution import Processes
from engine.train.evaluator import Evaluator
from engine.train.faults import Faults
from engine.train.folder import RunFolder
from engine.train.health import Watched
from engine.train.inputs import Drawn, Sources
from engine.train.interrupt import Interrupt
from engine.train.names import CHECKPOINTS
from engine.train.parts import RunParts, resolve
from engine.train.plan import StagePlan, Until, plan_stages
from engine.train.readings import Readings, reading_interval
from engine.train.reporting import Reporter, warnings_noted
from engine.train.resume import restore
from engine.train.setup import StageRun
from engine.train.snapshot import snapshot
from engine.train.stages import freeze, rate_at
from engine.train.state import Position, TrainingState, weights_in_words
from engine.train.step import StepOutput, limit_scale
from engine.train.teachers import TeacherOutputs
from engine.train.update import check_step, update, update_unread


class Trainer:
    """Trains a model in a run's folder.

    Args:
        built: the model; it is trained in place.
        data: the training data.
        folder: of the run; exists.
        parts: of its config; by default they are resolved here.
        evaluator: ``None`` where there is nothing to evaluate on.
        loggers: beside the history.
        callbacks: by the names of the plugins; called in the main process alone.
        processes: this process among the others.
        place: the folder that a new run takes; by default it is the run's already.

    ``state`` says where the run is, ``stage`` the stage under way, ``paused`` that more is to come.
    """

    def __init__(
        self,
        built: Built,
        data: TrainingRows,
        folder: Path,
        *,
        parts: RunParts | None = None,
        evaluator: Evaluator | None = None,
        loggers: Sequence[Logger] = (),
        callbacks: Sequence[tuple[str, Callback]] = (),
        processes: Processes | None = None,
        place: RunFolder | None = None,
    ) -> None:
        self.built, self.model, self.data, self.folder = built, built.model, data, folder
        self.parts = parts or resolve(built.config, folder)
        self.evaluator = evaluator
        self.processes = processes or Processes()
        self.device = choose_device(self.parts.compute.device, self.processes.local_rank)
        dtype = choose_dtype(self.parts.compute.precision, self.device)
        self.autocast, self.scaler = autocast(self.device, dtype), make_scaler(self.device, dtype)
        self.place = place or RunFolder(folder, replaces=False)
        self.checkpoints = Checkpoints(folder / CHECKPOINTS, self.parts.pace.checkpoints)
        self.reporter = Reporter(loggers, main=self.processes.main)
        self.callbacks = Callbacks(callbacks if self.processes.main else (), self.model)
        scaled, called = self.scaler.is_enabled(), bool(self.parts.callbacks)
        every = reading_interval(self.device, self.parts.pace.log_every, scaled, called)
        self.readings = Readings(every)
        self.state = TrainingState()
        self.stage: StageRun | None = None
        self.paused = False
        self.sources = Sources(
            parts=self.parts.inputs,
            model=self.model,
            data=data,
            teachers=TeacherOutputs(self.parts.teachers, data, self.parts.inputs.cache),
            processes=self.processes,
            device=self.device,
            dtype=dtype,
        )
        self._saved_at = time.monotonic()
        self._saved: tuple[int, int] | None = None

    def run(self, *, resume: bool = False, until: Until | None = None) -> None:
        """Train all stages, from the beginning or from the last checkpoint.

        Afterwards the model has the weights of the last step as they are evaluated, see
        :meth:`kept_weights`.

        Args:
            resume: go on from the last checkpoint, where there is one.
            until: gives, of the number of all steps, the step after which the run pauses: a
                checkpoint is written, and the run goes on from there as if it had never stopped.

        Raises:
            TrainingError: a loss, a gradient or a weight was not finite (the last good state is
                saved); no picture could be read; a checkpoint of another config or of other data;
                the disk is full.
            KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM came (the state is saved).
        """
        plans = self.prepare()
        watched = Watched(self.model)
        self.faults = Faults(self.data, self.processes, self.checkpoints, self.place, watched)
        self._until = self.steps if until is None else until(self.steps)
        self._begin(plans, self._restore() if resume else None)
        try:
            with warnings_noted(self.note), Interrupt() as interrupt:
                self.sources.teachers.compute(plans, self.processes, self.note)
                self._interrupt = interrupt
                self.paused = self._due_to_pause()
                while self.state.at.stage < len(plans) and not self.paused:
                    self._run_stage(plans[self.state.at.stage])
            self._averaged = self.callbacks.keep_evaluated()
        finally:
            self._end()

    def kept_weights(self) -> str:
        """Which weights the model has after :meth:`run`, in words."""
        return weights_in_words(self._averaged, self.state)

    # ---- prepare --------------------------------------------------------------------------------

    def prepare(self) -> list[StagePlan]:
        """The model on its device, and every stage checked and planned."""
        self.processes.start(self.device)
        place_model(self.model, self.device, self.parts.compute)
        self.callbacks.check(
            evaluated=self.evaluator is not None, keep_best=self.parts.pace.keep_best
        )
        plans = plan_stages(self.parts.plan, self.data, self.model, self.processes.count)
        self.state.steps = self.steps = sum(plan.steps for plan in plans)
        return plans

    def _restore(self) -> TrainingState | None:
        """Take up the last whole checkpoint, where there is one."""
        state = restore(
            self.checkpoints, self.model, self.parts.signature, self.data, self.scaler, self.note
        )
        if state is not None:
            self.state = state
            self.state.steps = self.steps
        return state

    def _begin(self, plans: Sequence[StagePlan], resumed: TrainingState | None) -> None:
        """Open what the main process writes to; start loggers and callbacks."""
        if not self.processes.main:
            return
        if not self.place.replaces:
            self.place.take()
        self.checkpoints.folder = self.place.place / CHECKPOINTS
        at, stages = self.state.at.step, [(plan.settings.name, plan.epochs) for plan in plans]
        info = RunInfo(self.folder, self.parts.name, self.steps, at, self.parts.described, stages)
        self.reporter.start(self.place.place, info, len(self.state.finished_stages))
        self.callbacks.start(info, None if resumed is None else resumed.callbacks)
        if self.data.without_text:
            self.note(f"{self.data.without_text} rows without any text are left out")

    def _end(self) -> None:
        if self.stage is not None:
            self.stage.close()
            self.stage = None
        self.reporter.close()
        self.processes.stop()

    # ---- a stage --------------------------------------------------------------------------------

    def _run_stage(self, plan: StagePlan) -> None:
        at, number = self.state.at, self.state.at.stage
        stage = self._open_stage(plan, number)
        # A checkpoint of the last step, before its evaluation, is within an epoch that has no step
        # left: that epoch is ended here, and evaluated.
        while (
            not stage.stopped
            and at.epoch < plan.epochs
            and (at.stage_step < plan.steps or at.batch)
        ):
            self._run_epoch(stage)
            if self.paused:
                return
            self._check(stage)
            at.epoch, at.batch, self.state.next_row = at.epoch + 1, 0, None
            every = self.parts.pace.evaluate_every
            last = at.epoch == plan.epochs or at.stage_step >= plan.steps
            if last or (every and at.epoch % every == 0):
                self._evaluate(stage)
        if not stage.health.taken:
            self.faults.never_stepped(at, stage)
        self._end_stage(stage)

    def _open_stage(self, plan: StagePlan, number: int) -> StageRun:
        state, under_way = self.state, self.state.stage
        freeze(self.model, plan.settings.trains, plan.where)
        state.trained |= {n for n, p in self.model.named_parameters() if p.requires_grad}
        stage = self.stage = StageRun(self.sources, self.autocast, plan, number, state.losses)
        if under_way is not None and state.at.stage_step:
            stage.resume(under_way)
        else:
            self.note(f"stage {number + 1}, {plan.settings.name}: {stage.describe()}")
            self.callbacks.on_stage(StageInfo(number, plan.settings.name, plan.steps, plan.epochs))
        state.stage = None  # from here on the stage itself knows
        return stage

    def _end_stage(self, stage: StageRun) -> None:
        state = self.state
        state.losses |= {
            name: {k: v.detach().clone() for k, v in loss.state_dict().items()}
            for name, loss in stage.losses.items()
        }
        finished = stage.summary(state.at.epoch, state.at.stage_step)
        state.finished_stages.append(finished)
        self.reporter.history(state.at.step, {"finished_stage": stage.number, **finished})
        for warning in finished["warnings"]:
            self.note(f"WARNING: {warning}")
        stage.close()
        self.stage = None
        state.at = Position(stage=stage.number + 1, step=state.at.step)
        self.save()

    def _run_epoch(self, stage: StageRun) -> None:
        at = self.state.at
        order = stage.inputs.order(at.epoch)
        first, before = at.batch, stage.meter.spent[1]
        if first:
            self.faults.check_order(at, self.state.next_row, stage.inputs.next_row(order, first))
        # islice asks for no batch more than is trained: each costs reading and an exchange.
        left = max(0, stage.plan.steps - at.stage_step)
        for drawn in islice(stage.inputs.batches(order, at.epoch, first), left):
            measured = self._step(stage, drawn)
            at.batch += 1
            at.stage_step += 1
            at.step += 1
            self.state.next_row = stage.inputs.next_row(order, at.batch)
            if measured is not None:
                self._after_step(stage, measured, len(drawn.rows))
            asked = self.processes.all_gather(self._interrupt.asked, self._due())
            stop, due = int(asked[:, 0].max()), bool(asked[0, 1])  # the main process knows if due
            self.paused = self._due_to_pause()
            if stop or due or self.paused:
                self._check(stage)
                self.save()
            if stop:
                self._interrupt.leave(stop)
            if self.paused:
                return
        if not first and at.batch == len(order) and stage.meter.spent[1] == before:
            self.faults.no_pictures(at, stage)

    # ---- a step ---------------------------------------------------------------------------------

    def _step(self, stage: StageRun, drawn: Drawn) -> StepOutput | None:
        """One optimisation step; ``None`` where too few pictures of the batch are whole."""
        if drawn.batch is None:
            self.note(f"batch left out: {drawn.broken} of its images are broken")
            return None
        at, rank = self.state.at, self.processes.rank
        seed = seed_of(self.parts.seed, "step", at.stage, at.epoch, at.batch, rank)
        seed_step(seed, self.device)
        stage.optimizer.optimizer.zero_grad(set_to_none=True)
        if self.readings.at_once:
            stage.statistics.keep()
        stage.reducer.begin()
        measured = stage.step.run(drawn.batch, self.scaler.scale, stage.reducer.last_pass)
        measured = stage.reduce(measured)
        self._apply(stage, measured, drawn.rows)
        return measured

    def _apply(self, stage: StageRun, measured: StepOutput, rows: Rows) -> None:
        """Change the weights; end the run where something is not finite, or find that later."""
        at, p = self.state.at, stage.plan
        factor = rate_at(at.stage_step, p.steps, p.epochs, p.settings.schedule)
        if self.readings.at_once:
            problem = update(stage, measured, self.scaler, factor)
            if problem is not None:
                self.faults.diverged(at, stage, problem, rows, self.save)
        else:
            numbers = update_unread(stage, measured, self.scaler, factor)
            self.readings.keep(replace(at), rows, measured.losses, numbers)
        if not stage.health.skipped:
            limit_scale(self.model, self.parts.max_scale)

    def _read(self, stage: StageRun, more: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """Wait for the device: check the steps that were not read yet, and read ``more``."""
        steps, numbers = self.readings.read(more)
        for step in steps:
            problem = check_step(stage, step, scaled=self.scaler.is_enabled())
            if problem:
                self.faults.found_late(step.at, self.state.at, problem, step.rows)
        return numbers

    def _check(self, stage: StageRun) -> None:
        """End the run where a step or the model is not finite: before anything is kept of it."""
        self._read(stage, {})
        self.faults.check_finite(self.state.at, stage)

    def _after_step(self, stage: StageRun, measured: StepOutput, rows: int) -> None:
        """Tell the callbacks and, where a line is due, the loggers."""
        at = self.state.at
        if not stage.health.skipped:
            losses = {f"loss_{name}": value for name, value in measured.losses.items()}
            values: dict[str, torch.Tensor | float]
            values = {"loss": measured.loss, "lr": stage.optimizer.rate, **losses}
            self.callbacks.on_step(at.step, values)
        stage.meter.count(measured, rows)
        if at.step % self.parts.pace.log_every and at.stage_step < stage.plan.steps:
            if self.readings.full:
                self._read(stage, {})
            return
        numbers = self._read(stage, stage.meter.pending(measured))
        left = (self.steps - at.step) * stage.plan.settings.batch_size
        line = stage.meter.line(numbers, stage.optimizer.rate, left)
        if self.processes.main:
            self.reporter.values(at.step, {"stage": at.stage, "epoch": at.epoch}, line)

    # ---- evaluate -------------------------------------------------------------------------------

    def _evaluate(self, stage: StageRun) -> None:
        """Evaluate in the main process; every process learns whether the stage ends."""
        if self.evaluator is not None and self.processes.main:
            started = time.monotonic()
            with self.callbacks.evaluated_model():
                scores = dict(self.evaluator())
            freeze(self.model, stage.plan.settings.trains, stage.plan.where)  # the modes again
            self._take_scores(stage, scores)
            stage.meter.pause(time.monotonic() - started)
        stage.stopped = bool(self.processes.all_gather(stage.stopped).any())

    def _take_scores(self, stage: StageRun, scores: dict[str, float]) -> None:
        state = self.state
        at, stage.scores, stage.scored_at = state.at, scores, state.at.step
        self.reporter.values(at.step, {"stage": at.stage, "epoch": at.epoch - 1}, scores)
        asking = self.callbacks.on_evaluate(at.step, scores)
        if asking and at.stage_step < stage.plan.steps:
            stage.stopped = True
            self.note(f"stage {at.stage + 1} ends early: `{asking[0]}` asks for it")
        if state.take_accuracy(scores.get("accuracy", -1.0), self.callbacks.best_step()):
            self._saved = None  # a checkpoint before has no scores
            self.save()

    def note(self, text: str) -> None:
        """Tell that something happened, in the main process."""
        self.reporter.note(self.state.at.step, text)

    # ---- save -----------------------------------------------------------------------------------

    def _due_to_pause(self) -> bool:
        """Whether to pause here; never after the last step, which ends the run."""
        return self._until <= self.state.at.step < self.steps

    def _due(self) -> bool:
        seconds = time.monotonic() - self._saved_at
        return self.place.staged or self.parts.pace.due(self.state.at.step, seconds)

    def save(self) -> None:
        """Write a checkpoint of this moment, in the main process."""
        at = self.state.at
        if not self.processes.main or self._saved == (at.step, at.stage):
            return
        plain, tensors = self.snapshot().to_checkpoint()
        self.checkpoints.save(at.step, plain, tensors, self.state.best_step)
        if self.place.staged:
            self.place.take()
            self.checkpoints.folder = self.folder / CHECKPOINTS
        self._saved_at, self._saved = time.monotonic(), (at.step, at.stage)

    def snapshot(self) -> TrainingState:
        """The run at this moment. Tensors are not copied."""
        return snapshot(
            self.state, self.stage, model=self.model, scaler=self.scaler,
            callbacks=self.callbacks, signature=self.parts.signature, data=self.data,
        )  # fmt: skip
