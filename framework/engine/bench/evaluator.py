"""Evaluating: a model's (or a file's) answers to data sets, and everything counted from them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.bench.contamination import Training
from engine.bench.datasets import EvaluatedDataset
from engine.bench.job import Job
from engine.bench.keys import machine, versions
from engine.bench.results import (
    DatasetAnswers,
    DatasetResult,
    EntryAnswers,
    ModelSize,
    Part,
    Provenance,
    QueryRanks,
    Result,
)
from engine.bench.training_time import seconds_of
from engine.contracts.dataset import Dataset
from engine.contracts.metric import Answers
from engine.core.build import Built
from engine.core.config import dump_config
from engine.core.devices import find_device
from engine.core.progress import logged, within
from engine.core.size import artifact_size
from engine.data.contest import read_predictions
from engine.errors import DataError
from engine.evaluate.calibration import CalibrationBin, calibration_bins
from engine.evaluate.features import FeatureCache
from engine.evaluate.loading import read_model
from engine.evaluate.predictor import Predictor, random_weights
from engine.evaluate.retrieval import retrieval
from engine.evaluate.runner import DatasetRun, run
from engine.evaluate.scores import class_recall
from engine.exchange.exported import is_export, read_onnx_export

_log = logging.getLogger(__name__)

FEATURES_BUDGET = 4 * 10**9
"""Bytes of vision features that a bench keeps."""


def evaluate_entry(job: Job, folder: Path) -> tuple[Result, EntryAnswers]:
    """Evaluate a model, or a file of predictions.

    Args:
        job: what to evaluate, and on what.
        folder: the artifact; not read where predictions are evaluated.

    Raises:
        EngineError: the answers do not fit the data.
    """
    evaluated = [EvaluatedDataset.from_json(each) for each in job.datasets]
    if job.source == "predictions":
        return _evaluate_predictions(job, evaluated)
    _log.info("evaluating")
    device = find_device(job.device or "cpu")
    built = read_model(folder, job.backend, logged)
    built.model.to(device)
    training = Training(built.config.data.train, built.config)
    results, answers = [], {}
    with FeatureCache(Path(job.features), FEATURES_BUDGET) as cache:
        for each in evaluated:
            result, found = _evaluate_one(job, built, each, training, cache)
            results.append(result)
            answers[each.name] = found
    warnings = [*random_weights(built.manifest), *built.warnings]
    whole = Result(
        key=job.key, entry=job.entry, seed=job.seed, provenance=_provenance(job, built, warnings),
        model_size=size_of(folder), datasets=tuple(results),
    )  # fmt: skip
    return whole, EntryAnswers(datasets=answers)


def _evaluate_one(
    job: Job, built: Built, evaluated: EvaluatedDataset, training: Training, cache: FeatureCache
) -> tuple[DatasetResult, DatasetAnswers]:
    dataset = evaluated.open()
    queries = any(dataset.record(i).queries for i in range(len(dataset)))
    predictor = predictor_for(built, evaluated)
    ran = run(
        predictor, dataset, workers=job.threads, features=cache, keep_vectors=queries,
        progress=within(logged, "evaluating"),
    )  # fmt: skip
    answers = _answers(ran, _retrieve(predictor, ran) if queries else None)
    seen = training.seen(evaluated.use, dataset)
    notes = [*ran.notes, *([seen.note] if seen.note else [])]
    return result_of(evaluated.name, answers, seen.images, notes), answers


def predictor_for(built: Built, evaluated: EvaluatedDataset) -> Predictor:
    """The model with a data set's own templates, where it has any."""
    if evaluated.templates is None:
        return Predictor(built)
    zero_shot = built.config.zero_shot.model_copy(update={"templates": evaluated.templates})
    return Predictor(replace(built, config=built.config.model_copy(
        update={"zero_shot": zero_shot})))  # fmt: skip


def size_of(folder: Path) -> ModelSize:
    """The size of an artifact's weights, or of an export's files of both towers."""
    if is_export(folder):
        return _size_of_export(folder)
    report = artifact_size(folder, None)
    parts = tuple(
        Part(
            name=part.name,
            plugin=part.plugin,
            parameters=part.num_parameters,
            buffers=part.num_buffers,
            bytes=part.bytes,
            storage=dict(part.storage),
        )
        for part in report.parts
    )
    return ModelSize(
        bytes=report.total,
        parameters=report.num_parameters,
        buffers=report.num_buffers,
        parts=parts,
    )


def _size_of_export(folder: Path) -> ModelSize:
    manifest = read_onnx_export(folder, verify=False)
    parts = []
    for tower in ("vision", "text"):
        file = manifest[tower]["file"]  # and what lies beside it where it is too large for one
        sizes = [e["bytes"] for n, e in manifest["files"].items() if n in (file, f"{file}.data")]
        parts.append(Part(name=tower, plugin="", parameters=0, buffers=0, bytes=sum(sizes)))
    return ModelSize(
        bytes=sum(part.bytes for part in parts), parameters=int(manifest["num_parameters"]),
        buffers=0, parts=tuple(parts),
    )  # fmt: skip


def _provenance(job: Job, built: Built, warnings: Sequence[str]) -> Provenance:
    manifest = built.manifest
    return Provenance(
        source=job.source, path=job.path, overrides=job.overrides, seed=job.seed,
        config=dump_config(built.config), trained=bool(manifest.get("stages")),
        train_seconds=seconds_of(Path(job.run)) if job.source == "config" else None,
        stages=tuple(manifest.get("stages", ())), plugins=tuple(manifest.get("plugins", ())),
        versions=versions(), machine=machine(), warnings=tuple(dict.fromkeys(warnings)),
    )  # fmt: skip


def _answers(ran: DatasetRun, ranks: QueryRanks | None) -> DatasetAnswers:
    rows = {row.index: row for row in ran.rows}
    records = [ran.dataset.record(index) for index in range(ran.asked)]
    return DatasetAnswers(
        classes=tuple(ran.dataset.classes),
        ids=tuple(record.id for record in records),
        labels=tuple(-1 if record.label is None else record.label for record in records),
        top=tuple(rows[i].classes if i in rows else () for i in range(ran.asked)),
        probabilities=tuple(rows[i].probabilities if i in rows else () for i in range(ran.asked)),
        retrieval=ranks,
    )


def _retrieve(predictor: Predictor, ran: DatasetRun) -> QueryRanks | None:
    """Images against the different queries of all of them."""
    texts: dict[str, int] = {}
    owners: list[list[int]] = []
    rows: list[int] = []
    assert ran.vectors is not None
    for place, row in enumerate(ran.rows):
        if not row.record.queries:
            continue
        mine = [texts.setdefault(query, len(texts)) for query in dict.fromkeys(row.record.queries)]
        owners += [[] for _ in range(len(texts) - len(owners))]
        for text in mine:
            owners[text].append(len(rows))
        rows.append(place)
    if not rows:
        return None
    vectors = np.asarray(ran.vectors)[rows]
    found = retrieval(vectors, predictor.encode_texts(list(texts)), owners)
    return QueryRanks(
        image_to_text=tuple(found.image_to_text.tolist()),
        text_to_image=tuple(found.text_to_image.tolist()),
        images=found.images,
        texts=found.texts,
    )


def result_of(
    name: str, answers: DatasetAnswers, contamination: str, notes: Sequence[str]
) -> DatasetResult:
    """What is counted from the answers to one data set; metrics come later, in ``rank.py``."""
    known = answers.for_metrics().labelled()
    if not len(known.labels):
        raise DataError(f"the truth of data set `{name}` names no image")
    return DatasetResult(
        name=name, images=len(known.labels), classes=answers.classes,
        correct=int((known.labels == known.best).sum()), missing=int((known.best < 0).sum()),
        recall=class_recall(known.labels, known.best, len(answers.classes)),
        calibration=_calibration(known), chance=100 / len(answers.classes),
        contamination=contamination, notes=tuple(notes),
    )  # fmt: skip


def _calibration(known: Answers) -> tuple[CalibrationBin, ...]:
    answered = known.best >= 0
    if known.probabilities is None or not answered.any():
        return ()
    right = (known.best == known.labels)[answered]
    return calibration_bins(known.probabilities[answered, 0], right)


# ---- predictions alone -------------------------------------------------------------------------


def _evaluate_predictions(
    job: Job, evaluated: Sequence[EvaluatedDataset]
) -> tuple[Result, EntryAnswers]:
    path = Path(job.path)
    predictions = read_predictions(path)
    results, answers = [], {}
    for each in evaluated:
        dataset = each.open()
        if each.name not in predictions:
            raise DataError(
                f"{path} has no answers for data set `{each.name}`; it has some for:"
                f" {', '.join(predictions)}"
            )
        found = _given_answers(path, each.name, dataset, predictions[each.name])
        answers[each.name] = found
        results.append(result_of(each.name, found, "", ["answers of unknown origin"]))
    provenance = Provenance(
        source="predictions", path=job.path, versions=versions(), machine=machine(), trained=True,
        warnings=("predictions alone: the size of the model that gave them is not known",),
    )  # fmt: skip
    result = Result(
        key=job.key, entry=job.entry, seed=job.seed, provenance=provenance, datasets=tuple(results)
    )
    return result, EntryAnswers(datasets=answers)


def _given_answers(
    path: Path, name: str, dataset: Dataset, given: dict[str, int]
) -> DatasetAnswers:
    records = [dataset.record(index) for index in range(len(dataset))]
    missing = [each.id for each in records if each.label is not None and each.id not in given]
    if missing:
        raise DataError(
            f"{path}, data set `{name}`: {len(missing):,} of {len(records):,} images have no"
            f" answer, the first is `{missing[0]}`",
            hint="on a leaderboard all answer the same images; `engine eval --predictions` scores"
            " a file with gaps, a gap counting as wrong",
        )
    unknown = sorted(given.keys() - {each.id for each in records})
    if unknown:
        raise DataError(
            f"{path}, data set `{name}`: {len(unknown):,} images are not in the data, the first"
            f" is `{unknown[0]}`",
            hint="predictions and data must be of the same images",
        )
    return DatasetAnswers(
        classes=tuple(dataset.classes),
        ids=tuple(each.id for each in records),
        labels=tuple(-1 if each.label is None else each.label for each in records),
        top=tuple((given[each.id],) if each.id in given else () for each in records),
    )
