"""What ends a run with an error: numbers that are not finite, pictures that cannot be read.

Every process of a run comes to the same decision, so that none waits for another that has left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from engine.contracts.training import Rows
from engine.errors import TrainingError
from engine.train.checkpoint import Checkpoints
from engine.train.data import TrainingRows
from engine.train.distribution import Processes
from engine.train.folder import RunFolder
from engine.train.health import Watched
from engine.train.setup import StageRun
from engine.train.state import Position

_SHOWN = 8
_GENTLER = (
    "a lower `lr`, `clip_gradients: 1.0`, or `precision: float32`; then train from the start, in"
    " another folder or with `--force`"
)


@dataclass(frozen=True)
class Faults:
    """Ends a run, with what a user needs to know.

    Attributes:
        data: the training data.
        processes: this process among the others.
        checkpoints: of the run.
        place: the run's folder.
        watched: the tensors that are to stay finite.
    """

    data: TrainingRows
    processes: Processes
    checkpoints: Checkpoints
    place: RunFolder
    watched: Watched

    def check_finite(self, at: Position, stage: StageRun) -> None:
        """Raise where the model, or a loss's own parameter, is not finite in any of the processes.

        Raises:
            TrainingError: names the tensor, and the last good checkpoint.
        """
        found = self.watched.problems(stage.losses)
        if not self.processes.all_gather(bool(found)).any():
            return
        what = "; ".join(found[:3]) or "another process has a number that is not finite"
        more = f"; and {len(found) - 3} more tensors" if len(found) > 3 else ""
        raise TrainingError(
            f"stage {at.stage + 1} (`{stage.plan.settings.name}`), after step {at.step}: the model"
            f" is not finite: {what}{more}. It is not saved; {self._last()}",
            hint=_GENTLER,
        )

    def check_order(
        self, at: Position, then: dict[str, int] | None, now: dict[str, int] | None
    ) -> None:
        """Raise where a run that goes on within an epoch would read other rows.

        Raises:
            TrainingError: the sampler's order is not the one that the run began with.
        """
        if then is not None and then != now:
            raise TrainingError(
                f"stage {at.stage + 1}, epoch {at.epoch + 1}: the checkpoint goes on with"
                f" {_place(then)}, and the sampler's order with {_place(now)}",
                hint="the sampler's code was changed; go on with the one that began the run, or"
                " `--force` starts it again",
            )

    def diverged(
        self, at: Position, stage: StageRun, what: str, rows: Rows, save: Callable[[], None]
    ) -> NoReturn:
        """Save the state before a step that cannot be taken, and end the run.

        Args:
            at: the position before the step.
            stage: the stage under way.
            what: is not finite, in words.
            rows: of the batch.
            save: writes a checkpoint.

        Raises:
            TrainingError: always.
        """
        stage.statistics.restore()
        problems = self.watched.problems(stage.losses)
        if problems:
            state = f"The weights were not finite before it either ({problems[0]}); {self._last()}"
        elif self.place.staged:  # an old run is not given up for one that does not start
            state = "The run that was to be replaced is untouched"
        else:
            save()
            state = f"The weights before this batch are saved; {self._last()}"
        raise self._not_finite(at, what, rows, state)

    def found_late(self, at: Position, now: Position, what: str, rows: Rows) -> NoReturn:
        """End the run for a step that was taken, and whose numbers were read some steps later.

        Args:
            at: the position before the step.
            now: the position at the reading.
            what: is not finite, in words.
            rows: of the batch.

        Raises:
            TrainingError: always.
        """
        state = (
            f"Found when the numbers were read, after step {now.step}; the weights are not saved;"
            f" {self._last()}"
        )
        if self.place.staged:
            state += "; the run that was to be replaced is untouched"
        raise self._not_finite(at, what, rows, state)

    def _not_finite(self, at: Position, what: str, rows: Rows, state: str) -> TrainingError:
        data = self.data
        shown = [data.dataset.record(int(data.rows[row])).id for row in rows[:_SHOWN]]
        more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
        return TrainingError(
            f"stage {at.stage + 1}, epoch {at.epoch + 1}, batch {at.batch + 1} (step"
            f" {at.step + 1}): {what}; images {', '.join(shown)}{more}. {state}",
            hint=f"{_GENTLER} (`--resume` would come to the same batch)",
        )

    def never_stepped(self, at: Position, stage: StageRun) -> NoReturn:
        """End a run whose stage went by without one step.

        Raises:
            TrainingError: always.
        """
        if not stage.meter.spent[1]:
            self.no_pictures(at, stage)
        raise TrainingError(
            f"stage {at.stage + 1} (`{stage.plan.settings.name}`): nothing was trained, because the"
            f" gradient was not finite in float16 in any of its {at.stage_step} steps;"
            f" {self._last()}",
            hint=_GENTLER,
        )

    def no_pictures(self, at: Position, stage: StageRun) -> NoReturn:
        """End a run that has no pictures to train on.

        Raises:
            TrainingError: always; gives examples with their reasons.
        """
        broken = stage.inputs.broken
        count = int(self.processes.all_gather(len(broken)).sum())
        examples = ", ".join(f"{name} ({reason})" for name, reason in list(broken.items())[:3])
        shown = f", for example {examples}" if examples else ""
        raise TrainingError(
            f"stage {at.stage + 1} (`{stage.plan.settings.name}`), epoch {at.epoch + 1}: nothing"
            " was trained, because no batch had two whole pictures:"
            f" {count} of {len(self.data)} are broken{shown}; {self._last()}",
            hint="mend the pictures of `data.train` (are they where the data set looks for them?),"
            f" then {self._go_on()}",
        )

    def _go_on(self) -> str:
        place = self.place
        if place.replaces and (place.staged or place.fresh):  # the old run is still there
            return "give the same command again"
        return "go on with `--resume`"

    def _last(self) -> str:
        steps = self.checkpoints.steps()
        if not steps:
            return "no checkpoint was written before"
        return f"the last good checkpoint is that of step {steps[-1]}"


def _place(row: dict[str, int] | None) -> str:
    return "no row" if row is None else ", ".join(f"{name} {n}" for name, n in row.items())
