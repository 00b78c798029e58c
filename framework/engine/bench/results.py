"""What was measured of one model: a result, one JSON file, and its answers, another.

Written by the process that measures (``worker.py``), read by the leaderboard and everything that
shows it. A result is complete when its file is there: files are written whole or not at all.
Numbers in percent are named so and never rounded; where something does not apply, it is ``None``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from engine.contracts.metric import Answers, RetrievalRanks, Value
from engine.evaluate.calibration import CalibrationBin
from engine.evaluate.metrics import answers_of

FORMAT = 3

Pair = tuple[float, float]
"""A 95 % interval, low and high."""


class _Fact(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")


class Part(_Fact):
    """A part of a model and its size.

    Attributes:
        name: of the part.
        plugin: its plugin; empty for ``logit_scale``.
        parameters: numbers in its parameters.
        buffers: numbers in its stored buffers.
        bytes: of both, as they are stored.
        storage: how many of the bytes each storage takes, by its name.
    """

    name: str
    plugin: str
    parameters: int
    buffers: int
    bytes: int
    storage: Mapping[str, int] = {}


class ModelSize(_Fact):
    """The size of a model: bytes of ``model.safetensors``, exact.

    Attributes:
        bytes: of the file.
        parameters: numbers in its parameters; tied parameters count once.
        buffers: numbers in its stored buffers (running statistics, say).
        parts: part by part.
    """

    bytes: int
    parameters: int
    buffers: int
    parts: tuple[Part, ...] = ()


class DatasetResult(_Fact):
    """One data set.

    Attributes:
        name: as the suite names it.
        images: images with a label; broken and unanswered ones are among them and count as wrong.
        classes: names of the classes.
        correct: images answered rightly.
        missing: images without an answer.
        metrics: every installed metric that applies, by name. They follow from the answers alone
            and are computed where a leaderboard is made, so that a metric that is installed later
            needs no model to be evaluated again; the file of a result has none.
        recall: percent of each class; ``None`` for a class without an image.
        calibration: the reliability diagram; empty where no probabilities are known.
        chance: accuracy of guessing, percent: 100 / classes.
        contamination: what training saw of the data set, in words; empty: nothing that is known.
        notes: what a reader should know.
    """

    name: str
    images: int
    classes: tuple[str, ...]
    correct: int
    missing: int
    metrics: Mapping[str, Value] = {}
    recall: tuple[float | None, ...]
    calibration: tuple[CalibrationBin, ...] = ()
    chance: float
    contamination: str = ""
    notes: tuple[str, ...] = ()

    @property
    def accuracy(self) -> float:
        """Percent of the images answered rightly."""
        return 100 * self.correct / self.images


class Speed(_Fact):
    """Measured in a fresh process with ``threads`` threads and nothing else running beside it.

    Attributes:
        load_seconds: from the start of reading the artifact to a model ready to answer.
        image_ms: an image at batch 1, decoding not included; median.
        text_ms: a class name at batch 1; median.
        images_per_second: at the best batch, ``image_batch`` images.
        texts_per_second: at the best batch, ``text_batch`` texts.
        peak_mb: most memory of the process, in 10^6 bytes.
        threads: of the arithmetic.
        code: see :class:`Result`.
    """

    load_seconds: float
    image_ms: float
    text_ms: float
    images_per_second: float
    image_batch: int
    texts_per_second: float
    text_batch: int
    peak_mb: float
    threads: int
    code: str = ""


class Contest(_Fact):
    """A run under the contest's conditions: one thread, no network, from a cold start.

    Attributes:
        seconds: from the start of the process to the written predictions, all data sets.
        images: answered.
        images_per_second: of the whole run.
        peak_mb: most memory, in 10^6 bytes.
        sockets: how it is known that none was opened, in words.
        code: see :class:`Result`.
    """

    seconds: float
    images: int
    images_per_second: float
    peak_mb: float
    sockets: str
    code: str = ""


class Provenance(_Fact):
    """How the model came about, enough to make it again.

    Attributes:
        source: what the suite's entry named.
        path: the config, the artifact or the file of predictions.
        overrides: ``KEY=VALUE`` laid over the config.
        config: the resolved config, YAML; empty for predictions.
        seed: of the config.
        trained: whether it was trained (here, or before its artifact was written).
        train_seconds: wall-clock time of the training here; ``None``: it was not trained here.
        stages: the artifact's history of training.
        plugins: ``{"kind", "name", "distribution", "version"}`` each.
        versions: of Engine, Python, PyTorch ...
        machine: ``{"cpu", "cores", "memory", "system"}`` in words.
        warnings: random weights, and whatever else must be reported with every number.
    """

    source: Literal["config", "artifact", "predictions"]
    path: str
    overrides: tuple[str, ...] = ()
    config: str = ""
    seed: int = 0
    trained: bool = False
    train_seconds: float | None = None
    stages: tuple[Mapping[str, Any], ...] = ()
    plugins: tuple[Mapping[str, str], ...] = ()
    versions: Mapping[str, str] = {}
    machine: Mapping[str, str] = {}
    warnings: tuple[str, ...] = ()


class Failure(_Fact):
    """Why there are no numbers.

    Attributes:
        what: one line or a few, as a user would read it on the terminal.
        details: a traceback, or the end of the process's output; may be empty.
        log: the file with all that the process said, from the folder of the bench, so that a result
            is the same wherever it was made; empty where there was no process.
    """

    what: str
    details: str = ""
    log: str = ""

    @property
    def words(self) -> str:
        """What, and where more of it stands."""
        return f"{self.what} (log: {self.log})" if self.log else self.what


class Result(_Fact):
    """One entry under one seed.

    Attributes:
        key: digest of everything that it follows from, but for the code.
        code: name of the record of the code that it follows from, see ``engine.bench.code``.
        entry: the entry's name.
        failure: set where it failed; then the numbers are missing.
    """

    format: int = FORMAT
    key: str
    code: str = ""
    entry: str
    seed: int
    provenance: Provenance
    model_size: ModelSize | None = None
    datasets: tuple[DatasetResult, ...] = ()
    speed: Speed | None = None
    contest: Contest | None = None
    failure: Failure | None = None

    def dataset(self, name: str) -> DatasetResult | None:
        """The data set of that name."""
        return next((each for each in self.datasets if each.name == name), None)


class QueryRanks(_Fact):
    """Where retrieval put the best right candidate of each query.

    See ``RetrievalRanks`` of ``engine.contracts.metric``.
    """

    image_to_text: tuple[int, ...]
    text_to_image: tuple[int, ...]
    images: int
    texts: int

    def for_metrics(self) -> RetrievalRanks:
        """The same as arrays."""
        return RetrievalRanks(
            np.array(self.image_to_text, np.int64),
            np.array(self.text_to_image, np.int64),
            self.images,
            self.texts,
        )


class DatasetAnswers(_Fact):
    """The answers to one data set, an item an image, in the data set's order.

    Attributes:
        classes: their names.
        ids: image ids.
        labels: the right class; -1 where it is not known.
        top: class indices, best first, at most five; empty where the image could not be read.
        probabilities: of these, 0..1; empty where they are not known.
        retrieval: ``None`` where the data set has no queries.
    """

    classes: tuple[str, ...]
    ids: tuple[str, ...]
    labels: tuple[int, ...]
    top: tuple[tuple[int, ...], ...]
    probabilities: tuple[tuple[float, ...], ...] = ()
    retrieval: QueryRanks | None = None

    def for_metrics(self) -> Answers:
        """The same as metrics read it."""
        ranks = None if self.retrieval is None else self.retrieval.for_metrics()
        return answers_of(self.classes, self.labels, self.top, self.probabilities or None, ranks)

    def correct(self) -> list[bool]:
        """Right or wrong, of the images with a label, in order."""
        return [
            bool(top) and top[0] == label
            for top, label in zip(self.top, self.labels, strict=True)
            if label >= 0
        ]


class EntryAnswers(_Fact):
    """The answers of one entry under one seed, by data set."""

    format: int = FORMAT
    datasets: Mapping[str, DatasetAnswers]


F = TypeVar("F", bound=_Fact)


def read_fact(type_: type[F], path: Path) -> F | None:
    """What a file holds, where it is there, whole and of this format; else ``None``."""
    try:
        found = type_.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if getattr(found, "format", FORMAT) == FORMAT else None


def names_of(results: Sequence[Result]) -> list[str]:
    """Entries in the order of their first result."""
    return list(dict.fromkeys(result.entry for result in results))
