"""A board that looks like a real one, with the answers that it follows from.

Answers come from a simple model of difficulty and skill, everything else from the answers, so that
what is shown of them can be checked against them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from engine.bench.board import Board, Cell, Comparison, DatasetFacts, Place, Row, Tier
from engine.bench.results import (
    Answers,
    Calibration,
    CalibrationBin,
    DatasetAnswers,
    DatasetResult,
    Failure,
    Made,
    Part,
    Result,
    Retrieval,
    Speed,
    Weight,
)
from engine.evaluate.scores import class_recall, mover, wilson

COLOURS = ("красный", "зелёный", "синий", "жёлтый")
SHAPES = ("круг", "квадрат", "треугольник", "звезда")
PHOTOS = ("кошка", "собака", "самолёт", "пианино", "бонсай", "мотоцикл", "часы", "люстра", "леопард",
          "черепаха", "слон", "подсолнух", "пирамида", "скрипка", "вертолёт", "ноутбук", "зонт",
          "чашка", "лангуст", "якорь", "бабочка", "фламинго", "стул", "кенгуру")  # fmt: skip
CLASSES: dict[str, tuple[str, ...]] = {
    "shapes": tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES),
    "digits": tuple(f"цифра {i}" for i in range(10)),
    "caltech": PHOTOS,
}
LIMITS = (50 * 10**6, 150 * 10**6, 500 * 10**6, 10**9, None)
CONFIG = """engine: 1
name: {name}
model:
  joint_width: 256
  vision: {{use: openai_clip, arch: ViT-B-32-quickgelu}}
  text: {{use: gpt3small, max_tokens: 15}}
  projection:
    vision: {{use: residual}}
    text: {{use: clustered, count: 10, of: {{use: residual}}}}
"""


@dataclass(frozen=True)
class Entry:
    """What an entry of the fake board is like; ``skill`` in standard deviations of difficulty."""

    name: str
    skill: float
    megabytes: float | None = None
    ms: float = 10.0
    seeds: tuple[int, ...] = (0,)
    source: Any = "config"
    trained: bool = True
    saw: Mapping[str, str] = field(default_factory=dict)
    fails: str = ""


ENTRIES = (
    Entry("sber_cluster", 0.62, 46.4, 14.1, (0, 1, 2)),
    Entry("sber", 0.55, 38.2, 12.7, (0, 1, 2)),
    Entry("clip_openai", 0.95, 121.6, 17.9),
    Entry("clip_rubert", 1.35, 1062.1, 41.3, source="artifact"),
    Entry("organisers_baseline", 0.05, 25.6, 21.4),
    Entry("ruclip", 1.02, 302.6, 18.4, saw={"shapes": "trained on these very images"}),
    Entry("no_training", -9.0, 38.2, 12.6, trained=False),
    Entry("rivals", 0.9, None, source="predictions"),
    Entry("clip_bpe", 0.0, fails="TrainingError: the loss is not a number after step 212"),
)


@dataclass(frozen=True)
class Fake:
    """A board, the answers of each entry, and pictures."""

    board: Board
    answers: dict[str, Answers]
    picture: Callable[[str, str], Image.Image | None]


def fake(
    entries: Sequence[Entry] = ENTRIES,
    classes: Mapping[str, tuple[str, ...]] = CLASSES,
    images: Mapping[str, int] | int = 400,
) -> Fake:
    """Make a board."""
    counts = {name: images if isinstance(images, int) else images[name] for name in classes}
    answers = {
        (each.name, seed): _answers(each, seed, classes, counts, place)
        for place, each in enumerate(entries)
        if not each.fails
        for seed in each.seeds
    }
    results = [_result(each, seed, answers) for each in entries for seed in each.seeds]
    comparisons = _comparisons(answers, [each for each in entries if not each.fails])
    rows = _with_fronts([_row(each, results) for each in entries])
    board = Board(
        suite="contest",
        datasets=tuple(
            DatasetFacts(name=name, images=counts[name], classes=names, described="drawn by a test")
            for name, names in classes.items()
        ),
        skipped={"emoji": "the font NotoColorEmoji.ttf is not on this machine"},
        rows=tuple(rows),
        tiers=tuple(_tier(limit, rows, comparisons) for limit in LIMITS),
        comparisons=tuple(comparisons),
        results=tuple(results),
        method="95 % intervals: bootstrap over images and seeds; paired tests, Holm's correction.",
        made={"engine": "0.1.0", "date": "2026-11-24 23:50"},
    )
    first = {each.name: answers[each.name, each.seeds[0]] for each in entries if not each.fails}
    return Fake(board, first, picture)


def _answers(
    entry: Entry,
    seed: int,
    classes: Mapping[str, tuple[str, ...]],
    counts: Mapping[str, int],
    place: int,
) -> Answers:
    found = {}
    for number, (name, names) in enumerate(classes.items()):
        data = np.random.default_rng(number)
        own = np.random.default_rng(1000 * place + 10 * seed + number)
        count, width = counts[name], len(names)
        labels = data.integers(width, size=count)
        hard = data.normal(size=count) + 0.5 * np.sin(labels * 1.7 + number)
        surplus = 1.6 * (entry.skill - hard) + own.normal(size=count)
        right = surplus > 0 if entry.trained else own.random(count) < 1 / width
        near = (labels + np.where(own.random(count) < 0.6, 1, own.integers(1, width, count))) % width
        first = np.where(right, labels, near)
        sure = 1 / (1 + np.exp(-np.abs(surplus) - 0.2 * own.normal(size=count)))
        second = np.where(right | (own.random(count) < 0.3), near, labels)
        top = [
            tuple(dict.fromkeys([int(a), int(b), *((int(a) + k) % width for k in range(2, 8))]))[:5]
            for a, b in zip(first, second, strict=True)
        ]
        chances = [(p, *((1 - p) * w for w in (0.5, 0.25, 0.15, 0.1))) for p in sure.tolist()]
        found[name] = DatasetAnswers(
            classes=names,
            ids=tuple(f"{name}-{i:05d}" for i in range(count)),
            labels=tuple(labels.tolist()),
            top=tuple(top[:-1]) + ((),),  # the last image is broken
            probabilities=()
            if entry.source == "predictions"
            else tuple(tuple(row) for row in chances[:-1]) + ((),),
        )
    return Answers(datasets=found)


def _dataset_result(name: str, answers: DatasetAnswers, saw: str) -> DatasetResult:
    labels = np.array(answers.labels)
    first = np.array([top[0] if top else -1 for top in answers.top])
    recall = class_recall(labels, first, len(answers.classes))
    known = [value for value in recall if value is not None]
    correct = int((labels == first).sum())
    limits = wilson(correct, len(labels))
    top5 = sum(label in top for label, top in zip(answers.labels, answers.top, strict=True))
    accuracy = 100 * correct / len(labels)
    ks = {1: 0.55, 5: 0.8, 10: 0.9}
    return DatasetResult(
        name=name,
        images=len(labels),
        classes=answers.classes,
        correct=correct,
        missing=1,
        accuracy=accuracy,
        interval=(limits.low, limits.high),
        top5=100 * top5 / len(labels) if answers.probabilities else None,
        recall=recall,
        mean_recall=math.fsum(known) / len(known),
        calibration=_calibration(answers) if answers.probabilities else None,
        retrieval=None
        if name != "shapes" or not answers.probabilities
        else Retrieval(
            image_to_text={k: accuracy * share for k, share in ks.items()},
            text_to_image={k: accuracy * share * 0.9 for k, share in ks.items()},
            images=len(labels),
            texts=2 * len(labels),
        ),
        chance=100 / len(answers.classes),
        saw=saw,
    )


def _calibration(answers: DatasetAnswers) -> Calibration:
    pairs = [
        (chances[0], float(top[0] == label))
        for chances, top, label in zip(
            answers.probabilities, answers.top, answers.labels, strict=True
        )
        if top
    ]
    bins = []
    for i in range(10):
        inside = [pair for pair in pairs if i / 10 < pair[0] <= (i + 1) / 10]
        means = np.mean(inside, axis=0) if inside else None
        bins.append(
            CalibrationBin(
                low=i / 10,
                high=(i + 1) / 10,
                images=len(inside),
                confidence=None if means is None else float(means[0]),
                accuracy=None if means is None else 100 * float(means[1]),
            )
        )
    gaps = [
        each.images * abs(100 * each.confidence - each.accuracy)
        for each in bins
        if each.confidence is not None and each.accuracy is not None
    ]
    return Calibration(error=math.fsum(gaps) / len(pairs), bins=tuple(bins))


def _result(entry: Entry, seed: int, answers: Mapping[tuple[str, int], Answers]) -> Result:
    weight = None
    if entry.megabytes is not None:
        total = int(entry.megabytes * 1e6) + 1234
        vision, text = int(total * 0.58), int(total * 0.36)
        weight = Weight(
            bytes=total,
            parameters=total // 4,
            parts=(
                Part(name="vision", plugin="openai_clip", parameters=vision // 4, bytes=vision),
                Part(name="text", plugin="gpt3small", parameters=text // 4, bytes=text),
                Part(name="text_projection", plugin="clustered",
                     parameters=(total - vision - text) // 4, bytes=total - vision - text),
            ),
        )  # fmt: skip
    made = Made(
        source=entry.source,
        path=f"configs/tiny/{entry.name}.yaml",
        overrides=("train.stages.0.epochs=10", f"seed={seed}"),
        config="" if entry.source == "predictions" else CONFIG.format(name=entry.name),
        seed=seed,
        trained=entry.trained and entry.source != "predictions",
        train_seconds=81.5 if entry.source == "config" and entry.trained else None,
        stages=({"name": "projections", "epochs": 10, "steps": 1200, "loss": 0.8123},)
        if entry.trained
        else (),
        plugins=({"kind": "vision_tower", "name": "openai_clip", "distribution": "engine-towers",
                  "version": "0.1.0"},),
        versions={"engine": "0.1.0", "python": "3.11.2", "torch": "2.9.1"},
        machine={"cpu": "AMD EPYC 9B14", "cores": "2", "memory": "24 GB", "system": "Linux"},
        warnings=() if entry.trained else ("text: RANDOM weights, never trained",),
    )  # fmt: skip
    head: dict[str, Any] = {"key": f"{entry.name}-{seed}".encode().hex(), "entry": entry.name,
                            "seed": seed, "made": made}  # fmt: skip
    if entry.fails:
        return Result(**head, failure=Failure(what=entry.fails, details="Traceback: line 212"))
    speed = Speed(
        load_seconds=0.4 + (entry.megabytes or 0) / 400,
        image_ms=entry.ms,
        text_ms=entry.ms / 2.2,
        images_per_second=1600 / entry.ms,
        image_batch=16,
        texts_per_second=5200 / entry.ms,
        text_batch=64,
        peak_mb=420 + 1.4 * (entry.megabytes or 0),
        threads=1,
    )
    datasets = answers[entry.name, seed].datasets
    return Result(
        **head,
        weight=weight,
        datasets=tuple(
            _dataset_result(name, each, entry.saw.get(name, "")) for name, each in datasets.items()
        ),
        speed=None if entry.megabytes is None else speed,
    )


def _row(entry: Entry, results: Sequence[Result]) -> Row:
    own = [result for result in results if result.entry == entry.name]
    if entry.fails:
        return Row(entry=entry.name, seeds=(), failed=dict.fromkeys(entry.seeds, entry.fails))
    cells = {name: _cell([r.dataset(name) for r in own]) for name in CLASSES if own[0].dataset(name)}
    if not cells:
        cells = {each.name: _cell([r.dataset(each.name) for r in own]) for each in own[0].datasets}
    accuracies = [math.fsum(each.accuracy for each in r.datasets) / len(cells) for r in own]
    accuracy = math.fsum(accuracies) / len(accuracies)
    from engine.evaluate.scores import Interval

    limits = mover(
        [cell.accuracy for cell in cells.values()],
        [Interval(*cell.interval) for cell in cells.values()],
    )
    errors = [cell.calibration_error for cell in cells.values()]
    tops = [cell.top5 for cell in cells.values()]
    notes = [f"{name}: {saw}" for name, saw in entry.saw.items()]
    return Row(
        entry=entry.name,
        seeds=entry.seeds,
        weight=own[0].weight,
        datasets=cells,
        accuracy=accuracy,
        interval=(limits.low, limits.high),
        spread=float(np.std(accuracies, ddof=1)) if len(own) > 1 else None,
        top5=None if None in tops else float(np.mean([t for t in tops if t is not None])),
        mean_recall=float(np.mean([cell.mean_recall for cell in cells.values()])),
        calibration_error=None
        if None in errors
        else float(np.mean([e for e in errors if e is not None])),
        speed=own[0].speed,
        notes=(*notes, *own[0].made.warnings),
    )


def _cell(found: Sequence[DatasetResult | None]) -> Cell:
    own = [each for each in found if each is not None]
    accuracies = [each.accuracy for each in own]
    first = own[0]
    return Cell(
        accuracy=float(np.mean(accuracies)),
        interval=first.interval,
        spread=float(np.std(accuracies, ddof=1)) if len(own) > 1 else None,
        top5=first.top5,
        mean_recall=float(np.mean([each.mean_recall for each in own])),
        calibration_error=first.calibration.error if first.calibration else None,
        image_to_text=first.retrieval.image_to_text if first.retrieval else None,
        text_to_image=first.retrieval.text_to_image if first.retrieval else None,
        chance=first.chance,
        saw=first.saw,
    )


def _with_fronts(rows: Sequence[Row]) -> list[Row]:
    def on_front(row: Row, cost: Callable[[Row], float | None]) -> bool:
        own = cost(row)
        if own is None or row.accuracy is None:
            return False
        return not any(
            other.accuracy is not None
            and other.accuracy > row.accuracy
            and (price := cost(other)) is not None
            and price <= own
            for other in rows
        )

    return [
        row.model_copy(
            update={
                "on_bytes_front": on_front(row, lambda r: r.weight and r.weight.bytes),
                "on_ms_front": on_front(row, lambda r: r.speed and r.speed.image_ms),
            }
        )
        for row in rows
    ]


def _comparisons(
    answers: Mapping[tuple[str, int], Answers], entries: Sequence[Entry]
) -> list[Comparison]:
    found = []
    for one, two in combinations(entries, 2):
        ours, theirs = (answers[each.name, each.seeds[0]].datasets for each in (one, two))
        right = {
            name: (np.array(ours[name].correct()), np.array(theirs[name].correct()))
            for name in ours
        }
        means = [100 * float((a.astype(int) - b).mean()) for a, b in right.values()]
        spread = 100 * math.sqrt(
            sum(float((a.astype(int) - b).var()) / len(a) for a, b in right.values())
        ) / len(right)  # fmt: skip
        difference = float(np.mean(means))
        ahead = difference >= 0
        size = abs(difference)
        only = [{n: int((a & ~b).sum()) for n, (a, b) in right.items()},
                {n: int((b & ~a).sum()) for n, (a, b) in right.items()}]  # fmt: skip
        p = math.erfc(size / max(spread, 1e-9) / math.sqrt(2))
        found.append(
            Comparison(
                a=one.name if ahead else two.name,
                b=two.name if ahead else one.name,
                difference=size,
                interval=(size - 1.96 * spread, size + 1.96 * spread),
                p=p,
                corrected=p,
                only_a=only[0] if ahead else only[1],
                only_b=only[1] if ahead else only[0],
            )
        )
    return _holm(found)


def _holm(found: Sequence[Comparison]) -> list[Comparison]:
    order = sorted(range(len(found)), key=lambda i: found[i].p)
    corrected, least = {}, 0.0
    for step, i in enumerate(order):
        least = max(least, min(1.0, found[i].p * (len(found) - step)))
        corrected[i] = least
    return [
        each.model_copy(update={"corrected": corrected[i]}) for i, each in enumerate(found)
    ]


def _tier(limit: int | None, rows: Sequence[Row], comparisons: Sequence[Comparison]) -> Tier:
    real = {(each.a, each.b) for each in comparisons if each.real}
    judged = [row for row in rows if row.accuracy is not None]
    weighed = [row for row in judged if row.weight is not None]
    inside = [r for r in weighed if limit is None or (r.weight and r.weight.bytes <= limit)]
    over = sorted((r for r in weighed if r not in inside), key=lambda r: r.weight.bytes)  # type: ignore[union-attr]
    names = [row.entry for row in sorted(inside, key=lambda row: -(row.accuracy or 0))]
    return Tier(
        limit=limit,
        places=tuple(
            Place(
                entry=name,
                best=1 + sum((other, name) in real for other in names),
                worst=len(names) - sum((name, other) in real for other in names),
            )
            for name in names
        ),
        over=tuple(row.entry for row in over),
        unweighed=tuple(row.entry for row in judged if row.weight is None),
    )


def picture(dataset: str, image: str) -> Image.Image | None:
    """A drawn picture that is different for each image; every 40th cannot be read."""
    number = int(image.rsplit("-", 1)[1])
    if number % 40 == 39:
        return None
    rng = np.random.default_rng(number)
    tints = [tuple(int(x) for x in rng.integers(30, 225, 3)) for _ in range(6)]
    drawn = Image.new("RGB", (320, 240), tints[0])
    pen = ImageDraw.Draw(drawn)
    for tint in tints[1:]:
        x, y, r = (int(v) for v in rng.integers(20, 220, 3))
        pen.ellipse((x - r // 2, y - r // 2, x + r // 2, y + r // 2), fill=tint)
    pen.text((12, 212), image, fill="white", font_size=20)
    return drawn


@pytest.fixture(scope="session")
def contest() -> Fake:
    """Nine entries, three data sets, five limits; read-only."""
    return fake()


@pytest.fixture(scope="session")
def make_fake() -> Callable[..., Fake]:
    """Makes another."""
    return fake


@pytest.fixture(scope="session")
def entry() -> Callable[..., Entry]:
    """Makes an entry of a fake board."""
    return Entry
