"""Successive halving: all trials train a little, the best go on, and the best of all is the model.

::

    OUT/sweep.json              what came out (also ``sweep.html``, the page)
    OUT/best.yaml               the resolved config of the best trial
    OUT/trials/007.SEED.KEY/    the run of a trial
    OUT/results/007.SEED.KEY.RUNG.json
    OUT/cache/                  activations of frozen layers, shared by all trials

Jamieson and Talwalkar, 2016 (arXiv:1502.07943). A training is never repeated: it pauses at the end
of a rung with a checkpoint, and goes on from there, to the same weights that a training without
pauses has. What is done is kept, so the same command goes on after any break.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from engine.core.config import dump_config
from engine.core.files import locked, write_text
from engine.core.files import steps as lasting
from engine.core.progress import Progress, silent
from engine.errors import ConfigError, EngineError
from engine.sweep.report import RungResult, Status, SweepReport, TrialRow
from engine.sweep.settings import SweepSettings
from engine.sweep.trials import Trial, make_trials
from engine.train.evaluator import evaluator_of
from engine.train.folder import is_run
from engine.train.names import CACHE, CHECKPOINTS, MODEL, START
from engine.train.run import train

SWEEP, PAGE, BEST, LOCK = "sweep.json", "sweep.html", "best.yaml", ".lock"
_WAIT = 1.0


@dataclass
class _State:
    """A trial under way."""

    trial: Trial
    rungs: list[dict[int, RungResult]] = field(default_factory=list)
    failed: str = ""
    stopped: bool = False


def run_sweep(
    sweep: SweepSettings,
    out: Path,
    *,
    progress: Progress = silent,
) -> SweepReport:
    """Run what is left of a sweep.

    Args:
        sweep: its settings.
        out: its folder.
        progress: receives how many trainings are done.

    Raises:
        ConfigError: not one trial can be trained; or the score is not one that is measured.
        DataError: another process runs a sweep in the folder.
        KeyboardInterrupt, SystemExit: broken off; what is done is kept.
    """
    trials = make_trials(sweep, out / CACHE)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out / LOCK, f"another sweep is running in {out}", wait=_WAIT):
        halving = _Halving(sweep, out, trials, progress)
        try:
            halving.run()
        except (KeyboardInterrupt, SystemExit) as stop:
            stop.__notes__ = ["what is done is kept; the same command goes on with what is left"]
            raise
        finally:
            report = halving.report()
            text = json.dumps(report.to_json(), ensure_ascii=False, indent=1)
            write_text(out / SWEEP, text + "\n")
        return report


def planned(sweep: SweepSettings, out: Path) -> SweepReport:
    """The trials with their bytes, before anything is trained; writes nothing."""
    trials = make_trials(sweep, out / CACHE)
    rows = [
        TrialRow(t.number, t.values, t.bytes, "planned" if t.configs else "refused", t.refused, (),
            sweep.score)
        for t in trials
    ]  # fmt: skip
    return SweepReport(
        sweep.name, str(sweep.config), sweep.score, sweep.better, sweep.limit, sweep.seeds, rows
    )


class _Halving:
    """The rungs of a sweep."""

    def __init__(
        self, sweep: SweepSettings, out: Path, trials: Sequence[Trial], progress: Progress
    ) -> None:
        self._sweep, self._out, self._progress = sweep, out, progress
        self._states = [_State(trial) for trial in trials]
        self._shares = sweep.halving.shares()
        self._done = 0

    def run(self) -> None:
        left = [state for state in self._states if state.trial.configs]
        total = self._trainings(len(left))
        for rung in range(len(self._shares)):
            for state in left:
                for seed in self._sweep.seeds:
                    words = f"trial {state.trial.number}, seed {seed}"
                    self._progress(f"{words}, to {self._shares[rung]:.0%}", self._done, total)
                    self._train(state, seed, rung)
                    self._done += 1
            left = self._best([state for state in left if not state.failed], rung)
        self._progress("done", total, total)

    def _trainings(self, trials: int) -> int:
        """How many trainings and continued trainings there will be."""
        total = 0
        for _ in self._shares:
            total += trials * len(self._sweep.seeds)
            trials = self._going_on(trials)
        return total

    def _merit(self, state: _State, rung: int) -> float:
        """The mean score at a rung, turned so that higher is better; not a number is the worst."""
        sign = 1 if self._sweep.better == "higher" else -1
        mean = fmean(each.scores[self._sweep.score] for each in state.rungs[rung].values())
        return sign * mean if math.isfinite(mean) else -math.inf

    def _going_on(self, trials: int) -> int:
        halving = self._sweep.halving
        return min(trials, max(halving.finalists, math.ceil(trials / halving.factor)))

    def _best(self, states: list[_State], rung: int) -> list[_State]:
        """Those that go on from a rung, the best first; the others end there."""
        ranked = sorted(states, key=lambda state: self._merit(state, rung), reverse=True)
        if rung == len(self._shares) - 1:
            return ranked
        count = self._going_on(len(ranked))
        for state in ranked[count:]:
            state.stopped = True
            for seed in self._sweep.seeds:
                self._forget(self._folder(state.trial, seed))
        return ranked[:count]

    # ---- a training -----------------------------------------------------------------------------

    def _train(self, state: _State, seed: int, rung: int) -> None:
        """Train a trial to the end of a rung and evaluate it, unless that was done before."""
        if state.failed:
            return
        result = self._result(state.trial, seed, rung)
        found = _read(result)
        if found is None:
            try:
                found = self._measure(state.trial, seed, rung)
            except EngineError as error:
                state.failed = f"seed {seed}: {error.message}"
                return
            write_text(result, json.dumps(asdict(found), ensure_ascii=False) + "\n")
        if self._sweep.score not in found.scores:
            known = ", ".join(f"`{name}`" for name in found.scores) or "none"
            raise ConfigError(
                f"the evaluation gives no score `{self._sweep.score}`; it gives {known}",
                hint="`score:` names one of these",
            )
        if len(state.rungs) <= rung:
            state.rungs.append({})
        state.rungs[rung][seed] = found

    def _measure(self, trial: Trial, seed: int, rung: int) -> RungResult:
        config, folder = trial.configs[seed], self._folder(trial, seed)
        assert config.train is not None
        watching = config.train.keep == "best" or any(
            use.target().needs_evaluation for use in config.train.callbacks
        )
        share = self._shares[rung]
        built, _ = train(
            config,
            folder,
            resume=is_run(folder),
            until=None if share == 1 else lambda steps: max(1, math.ceil(share * steps)),
            evaluator=evaluator_of if watching else lambda built: None,
        )
        evaluator = evaluator_of(built)
        assert evaluator is not None
        at = built.manifest["training"]
        if share == 1:
            lasting.remove_tree(folder / CACHE)
        return RungResult(dict(evaluator()), at["step"], at["steps"])

    def _folder(self, trial: Trial, seed: int) -> Path:
        return self._out / "trials" / f"{trial.name}.{seed}.{trial.key(seed)}"

    def _result(self, trial: Trial, seed: int, rung: int) -> Path:
        folder = self._folder(trial, seed)
        share = f"{self._shares[rung]:.6f}".replace("0.", "")
        return self._out / "results" / f"{folder.name}.{share}.json"

    @staticmethod
    def _forget(folder: Path) -> None:
        """Remove what a training that ended early would go on from; its history stays."""
        for name in (START, CHECKPOINTS, CACHE):
            if (folder / name).exists():
                lasting.remove_tree(folder / name)

    # ---- what came out --------------------------------------------------------------------------

    def report(self) -> SweepReport:
        """The sweep as it stands; writes the config of the best trial."""
        rows = [self._row(state) for state in self._states]
        sign = 1 if self._sweep.better == "higher" else -1
        rows.sort(
            key=lambda row: (
                -len(row.rungs), row.status == "failed", -sign * (row.result or 0.0), row.number,
            )
        )  # fmt: skip
        model = best_config = None
        if rows and rows[0].status == "finished":
            rows[0] = replace(rows[0], status="best")
            trial = next(s.trial for s in self._states if s.trial.number == rows[0].number)
            seed = self._seed_of(rows[0])
            model, best_config = self._folder(trial, seed) / MODEL, self._out / BEST
            write_text(best_config, dump_config(trial.configs[seed]))
        data = [str(use.name) for use in self._evaluated()]
        return SweepReport(
            self._sweep.name, str(self._sweep.config), self._sweep.score, self._sweep.better,
            self._sweep.limit, self._sweep.seeds, rows, model, best_config, data,
        )  # fmt: skip

    def _evaluated(self) -> Sequence[Any]:
        configs = (config for s in self._states for config in s.trial.configs.values())
        first = next(configs, None)
        return () if first is None else first.data.evaluate

    def _seed_of(self, row: TrialRow) -> int:
        """The seed whose model has the best score."""
        sign = 1 if self._sweep.better == "higher" else -1
        last: Mapping[int, RungResult] = row.rungs[-1]
        return max(last, key=lambda seed: sign * last[seed].scores[self._sweep.score])

    def _row(self, state: _State) -> TrialRow:
        whole = [rung for rung in state.rungs if len(rung) == len(self._sweep.seeds)]
        status: Status = "paused"
        if not state.trial.configs:
            status = "refused"
        elif state.failed:
            status = "failed"
        elif len(whole) == len(self._shares):
            status = "finished"
        elif state.stopped:
            status = "stopped"
        why = state.trial.refused or state.failed
        trial = state.trial
        return TrialRow(
            trial.number, trial.values, trial.bytes, status, why, whole, self._sweep.score
        )


def _read(path: Path) -> RungResult | None:
    """A result that was written before; ``None`` where there is none, or it is not whole."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        scores = {str(name): float(score) for name, score in value["scores"].items()}
        return RungResult(scores, int(value["step"]), int(value["steps"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
