"""The model of a checkpoint: ``RUN@best``, ``RUN@last``, ``RUN@1200``, where a model is accepted.

A checkpoint holds what training changes and no artifact. :func:`model_at` puts it on the model that
the run started from, and :func:`artifact_at` writes that once, into the folder of the checkpoint,
so that it goes when the checkpoint goes.
"""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.clusters.building import read_clustered
from engine.contracts.training import RunInfo
from engine.core.artifact import MANIFEST
from engine.core.build import Built, save
from engine.core.config import load_config
from engine.core.files import recover
from engine.errors import ArtifactError, TrainingError, did_you_mean
from engine.train.callbacks import Callbacks
from engine.train.checkpoint import Checkpoints, read
from engine.train.folder import is_run
from engine.train.names import CHECKPOINTS, CONFIG, MODEL, START
from engine.train.resume import put_weights
from engine.train.state import TrainingState, weights_in_words

BEST, LAST = "best", "last"


def artifact_at(run: Path, name: str) -> Path:
    """The folder of a checkpoint's model, written where it is not there yet.

    Args:
        run: folder of a training run, finished or under way.
        name: ``best``, ``last``, or the number of a step.

    Raises:
        ArtifactError: the folder is not a run, or it has no such checkpoint; says which it has.
        TrainingError: the checkpoint is damaged.
    """
    step = step_of(run, name)
    folder = Checkpoints(run / CHECKPOINTS, 1).path(step) / MODEL
    recover(folder)  # a writer that was killed between two renames
    if (folder / MANIFEST).is_file():
        return folder
    save(model_at(run, step), folder)
    return folder


def step_of(run: Path, name: str) -> int:
    """The step that a name means.

    Raises:
        ArtifactError: see :func:`artifact_at`.
    """
    if not is_run(run):
        raise ArtifactError(
            f"{run}@{name}: {run} is not a training run, so it has no checkpoints",
            hint="RUN@best, RUN@last and RUN@STEP name checkpoints of a folder of `engine train`",
        )
    steps = Checkpoints(run / CHECKPOINTS, 1).steps()
    best = best_step(run)
    known = [*(["best"] if best in steps else []), *(["last"] if steps else []), *map(str, steps)]
    if name == BEST and best in steps:
        assert best is not None
        return best
    if name == LAST and steps:
        return steps[-1]
    if re.fullmatch(r"[0-9]{1,18}", name) and int(name) in steps:
        return int(name)
    why = f"no checkpoint `{name}`{did_you_mean(name, known)}"
    if name == BEST and best is None and steps:
        why = "no best checkpoint, because it was not evaluated (`data.evaluate`)"
    raise ArtifactError(
        f"{run} has {why}",
        hint=f"it has: {', '.join(known)}; `train.checkpoints` says how many are kept"
        if known
        else "its checkpoints were removed, or none was written yet",
    )


def best_step(run: Path) -> int | None:
    """The step of the best evaluation, as the last checkpoint that can be read knows it."""
    checkpoints = Checkpoints(run / CHECKPOINTS, 1)
    for step in reversed(checkpoints.steps()):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            text = (checkpoints.path(step) / "state.json").read_text(encoding="utf-8")
            found = json.loads(text)["best_step"]
            return None if found is None else int(found)
    return None


def model_at(run: Path, step: int) -> Built:
    """The model of a checkpoint in memory, with the weights that are evaluated.

    Raises:
        EngineError: the checkpoint or the start of the run is damaged, or not there any more.
    """
    if not (run / START / MANIFEST).is_file():
        raise ArtifactError(
            f"{run} has no {START}/ any more, which the model of a checkpoint is made from",
            hint=f"{run / MODEL} is the model that the run ended with",
        )
    checkpoint = read(Checkpoints(run / CHECKPOINTS, 1).path(step))
    state = TrainingState.from_checkpoint(checkpoint)
    built = read_clustered(run / START)
    config = load_config(run / CONFIG)
    if config.train is None:
        raise TrainingError(f"{run / CONFIG} has no `train:` section, so it is not that of a run")
    put_weights(built.model, state.weights)
    callbacks = Callbacks([(use.name, use.create()) for use in config.train.callbacks], built.model)
    plain: Any = config.model_dump(mode="json", by_alias=True)
    with tempfile.TemporaryDirectory(prefix="engine-checkpoint-") as scratch:
        info = RunInfo(Path(scratch), config.name, state.steps, step, plain)
        callbacks.start(info, state.callbacks)
        averaged = callbacks.keep_evaluated()
    built.model.eval()
    built.manifest.pop("files", None)
    built.manifest["stages"] = list(state.finished_stages)
    built.manifest["scores"] = scores_of(state)
    built.manifest["training"] = {"step": step, "steps": state.steps}
    built.manifest["trained_weights"] = weights_in_words(averaged, state)
    return replace(built, config=config)


def scores_of(state: TrainingState) -> dict[str, float]:
    """The scores of exactly these weights; empty where they were not evaluated."""
    if state.stage is not None:
        return dict(state.stage.scores) if state.stage.scored_at == state.at.step else {}
    last = state.finished_stages[-1] if state.finished_stages else {}
    return dict(last["scores"]) if last.get("scored_at") == state.at.step else {}
