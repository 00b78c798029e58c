"""An entry's model, made to fit under a limit."""

from __future__ import annotations

import logging
from itertools import islice
from pathlib import Path

import numpy as np

from engine.bench.datasets import EvaluatedDataset
from engine.bench.job import Job
from engine.clusters import read_clustered
from engine.compress.fit import fit
from engine.compress.labelled import pictures_of
from engine.compress.report import cost
from engine.core.build import Built, save
from engine.core.progress import logged, within
from engine.errors import EngineError

_log = logging.getLogger(__name__)

_TEXTS, _PICTURES = 2000, 64


def fitted_model(job: Job, folder: Path) -> Path:
    """The artifact of a model under the job's limit.

    The calibration set is what the model was trained with, where that can be read; else the class
    names of the evaluated data, and drawn pictures. Right answers are not looked at.

    Args:
        job: with ``fit`` and ``fitted``.
        folder: the artifact.

    Raises:
        LimitError: the limit cannot be met.
    """
    assert job.fit is not None
    _log.info("fitting under %s bytes", f"{job.fit:,}")
    built, target = read_clustered(folder), Path(job.fitted)
    texts, pictures = _calibration(built, job)
    done = fit(
        built, job.fit, texts=texts, pictures=pictures,
        state=target.with_name(f".{target.name}.json"),
        progress=within(logged, "fitting"),
    )  # fmt: skip
    limits = done.built.config.limits.model_copy(update={"weights": job.fit})
    done.built.config = done.built.config.model_copy(update={"limits": limits})
    save(done.built, target)
    _log.info("%s", cost(done))
    return target


def _calibration(built: Built, job: Job) -> tuple[list[str], list[np.ndarray]]:
    texts: list[str] = []
    pictures: list[np.ndarray] = []
    train = built.config.data.train
    if train is not None:
        try:
            dataset = train.create()
            texts = list(islice(dataset.texts(), _TEXTS))
            pictures = pictures_of(built, [dataset], _PICTURES) if len(dataset) else []
        except EngineError as error:
            _log.warning("the training data cannot be read: %s", error.message)
    for each in job.datasets if not texts else ():
        texts += EvaluatedDataset.from_json(each).open().classes
    return list(dict.fromkeys(texts)), pictures
