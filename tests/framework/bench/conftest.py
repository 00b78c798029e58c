"""A leaderboard that looks like a real one, with the answers that it follows from.

Answers come from a simple model of difficulty and skill, everything else from the answers, so that
what is shown of them can be checked against them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from engine.bench import schedule
from engine.bench.evaluator import result_of
from engine.bench.leaderboard import Leaderboard
from engine.bench.rank import Outcome, make_leaderboard
from engine.bench.results import (
    DatasetAnswers,
    EntryAnswers,
    Failure,
    ModelSize,
    Part,
    Provenance,
    QueryRanks,
    Result,
    Speed,
)

from ...scaffold.warm import Command

COLOURS = ("красный", "зелёный", "синий", "жёлтый")
SHAPES = ("круг", "квадрат", "треугольник", "звезда")
PHOTOS = ("кошка", "собака", "самолёт", "пианино", "бонсай", "мотоцикл", "часы", "люстра",
          "леопард", "черепаха", "слон", "подсолнух", "пирамида", "скрипка", "вертолёт", "ноутбук",
          "зонт", "чашка", "лангуст", "якорь", "бабочка", "стул", "кенгуру")  # fmt: skip
CLASSES: dict[str, tuple[str, ...]] = {
    "shapes": tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES),
    "digits": tuple(f"цифра {i}" for i in range(10)),
    "caltech": PHOTOS,
}
LIMITS = (50 * 10**6, 150 * 10**6, 500 * 10**6, 10**9)
CONFIG = """engine: 1
name: {name}
model:
  embed_dim: 256
  vision: {{use: openai_clip, arch: ViT-B-32-quickgelu}}
  text: {{use: gpt3small, max_tokens: 15}}
  projection:
    vision: {{use: residual}}
    text: {{use: clustered, count: 10, of: {{use: residual}}}}
"""


@dataclass(frozen=True)
class Entry:
    """What an entry of the fake leaderboard is like; ``skill`` in deviations of difficulty."""

    name: str
    skill: float
    megabytes: float | None = None
    ms: float = 10.0
    seeds: tuple[int, ...] = (0,)
    source: Any = "config"
    trained: bool = True
    contamination: Mapping[str, str] = field(default_factory=dict)
    fails: str = ""


ENTRIES = (
    Entry("sber_cluster", 0.62, 46.4, 14.1, (0, 1, 2)),
    Entry("sber", 0.55, 38.2, 12.7, (0, 1, 2)),
    Entry("clip_openai", 0.95, 121.6, 17.9),
    Entry("clip_rubert", 1.35, 1062.1, 41.3, source="artifact"),
    Entry("organisers_baseline", 0.05, 25.6, 21.4),
    Entry("ruclip", 1.02, 302.6, 18.4, contamination={"shapes": "trained on these very images"}),
    Entry("no_training", -9.0, 38.2, 12.6, trained=False),
    Entry("rivals", 0.9, None, source="predictions"),
    Entry("clip_bpe", 0.0, fails="TrainingError: the loss is not a number after step 212"),
)


@dataclass(frozen=True)
class Fake:
    """A leaderboard, the answers of each entry, and pictures."""

    leaderboard: Leaderboard
    answers: dict[str, EntryAnswers]
    picture: Callable[[str, str], Image.Image | None]


def fake(
    entries: Sequence[Entry] = ENTRIES,
    classes: Mapping[str, tuple[str, ...]] = CLASSES,
    images: int = 400,
) -> Fake:
    """Make a leaderboard: answers from difficulty and skill, the rest as the bench makes it."""
    outcomes = [
        _outcome(each, seed, _answers(each, seed, classes, images, place))
        for place, each in enumerate(entries)
        if not each.fails
        for seed in each.seeds
    ]
    failures = [each for each in entries if each.fails]
    leaderboard = make_leaderboard(
        "contest",
        [each.name for each in entries],
        outcomes,
        size_buckets=LIMITS,
        failed={each.name: dict.fromkeys(each.seeds, each.fails) for each in failures},
        failures=[
            _result(each, seed).model_copy(
                update={"failure": Failure(what=each.fails, details="Traceback: line 212")}
            )
            for each in failures
            for seed in each.seeds
        ],
        skipped={"emoji": "the font NotoColorEmoji.ttf is not on this machine"},
        draws=300,
        provenance={
            "date": "2026-11-24 23:50",
            "versions": {"engine": "0.1.0", "python": "3.11.2", "torch": "2.9.1", "numpy": "2.4.6"},
            "threads": 1,
        },
    )
    first: dict[str, EntryAnswers] = {}
    for outcome in outcomes:
        first.setdefault(outcome.result.entry, outcome.answers)
    return Fake(leaderboard, first, picture)


def _answers(
    entry: Entry,
    seed: int,
    classes: Mapping[str, tuple[str, ...]],
    count: int,
    place: int,
) -> EntryAnswers:
    found = {}
    for number, (name, names) in enumerate(classes.items()):
        data = np.random.default_rng(number)
        own = np.random.default_rng(1000 * place + 10 * seed + number)
        width = len(names)
        labels = data.integers(width, size=count)
        hard = data.normal(size=count) + 0.5 * np.sin(labels * 1.7 + number)
        surplus = 1.6 * (entry.skill - hard) + own.normal(size=count)
        right = surplus > 0 if entry.trained else own.random(count) < 1 / width
        near = (
            labels + np.where(own.random(count) < 0.6, 1, own.integers(1, width, count))
        ) % width
        first = np.where(right, labels, near)
        sure = 1 / (1 + np.exp(-np.abs(surplus) - 0.2 * own.normal(size=count)))
        second = np.where(right | (own.random(count) < 0.3), near, labels)
        top = [
            tuple(dict.fromkeys([int(a), int(b), *((int(a) + k) % width for k in range(2, 8))]))[:5]
            for a, b in zip(first, second, strict=True)
        ]
        chances = [(p, *((1 - p) * w for w in (0.5, 0.25, 0.15, 0.1))) for p in sure.tolist()]
        if entry.source == "predictions":  # the contest's files hold the best answer alone
            top = [answers[:1] for answers in top]
        found[name] = DatasetAnswers(
            classes=names,
            ids=tuple(f"{name}-{i:05d}" for i in range(count)),
            labels=tuple(labels.tolist()),
            top=(*top[:-1], ()),  # the last image is broken
            probabilities=() if entry.source == "predictions" else (*chances[:-1], ()),
            retrieval=_ranks(right, own)
            if name == "shapes" and entry.source != "predictions"
            else None,
        )
    return EntryAnswers(datasets=found)


def _result(entry: Entry, seed: int) -> Result:
    """Without answers: how it was made, its bytes, how fast it is."""
    weight = None
    if entry.megabytes is not None:
        total = int(entry.megabytes * 1e6) + 1234
        vision, text = int(total * 0.58), int(total * 0.36)
        weight = ModelSize(
            bytes=total,
            parameters=total // 4 - 53,
            buffers=53,
            parts=(
                Part(name="vision", plugin="openai_clip", parameters=vision // 4 - 53, buffers=53,
                     bytes=vision),
                Part(name="text", plugin="gpt3small", parameters=text // 4, buffers=0, bytes=text,
                     storage={"float32": 100, "int8_rows": text - 100}),
                Part(name="text_projection", plugin="clustered",
                     parameters=(total - vision - text) // 4, buffers=0,
                     bytes=total - vision - text),
            ),
        )  # fmt: skip
    provenance = Provenance(
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
    return Result(
        key=f"{entry.name}-{seed}".encode().hex(),
        entry=entry.name,
        seed=seed,
        provenance=provenance,
        model_size=weight,
        speed=None if entry.megabytes is None else speed,
    )


def _outcome(entry: Entry, seed: int, answers: EntryAnswers) -> Outcome:
    datasets = [
        result_of(name, each, entry.contamination.get(name, ""), [])
        for name, each in answers.datasets.items()
    ]  # fmt: skip
    result = _result(entry, seed).model_copy(update={"datasets": tuple(datasets)})
    return Outcome(result, answers)


def _ranks(right: np.ndarray, rng: np.random.Generator) -> QueryRanks:
    """Queries of images that are answered rightly find more; two texts an image."""

    def of(right: np.ndarray) -> tuple[int, ...]:
        far = rng.geometric(0.15, len(right)) - 1
        return tuple((far * np.where(right, rng.random(len(right)) < 0.5, 1)).tolist())

    count = len(right)
    return QueryRanks(
        image_to_text=of(right), text_to_image=of(np.tile(right, 2)), images=count, texts=2 * count
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
    """Makes an entry of a fake leaderboard."""
    return Entry


# ---- data of the contest's layout --------------------------------------------------------------

PLAIN = {"красный": (200, 30, 30), "зелёный": (30, 160, 40), "синий": (30, 40, 200)}


def write_folder(root: Path, name: str, images: int = 9) -> dict[str, int]:
    """A data set of the contest's layout: plain colours; gives the right answers."""
    folder = root / name
    (folder / "img").mkdir(parents=True)
    names = list(PLAIN)
    (folder / "classes.json").write_text(json.dumps(names, ensure_ascii=False))
    truth = {}
    for i in range(images):
        label = i % len(names)
        r, g, b = PLAIN[names[label]]
        Image.new("RGB", (20, 20), (r, (g + i) % 256, b)).save(folder / "img" / f"{i}.png")
        truth[str(i)] = label
    return truth


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder of two data sets with their right answers."""
    root = tmp_path / "photographs"
    truth = {name: write_folder(root, name) for name in ("one", "two")}
    (root / "gt.json").write_text(json.dumps(truth))
    return root


@pytest.fixture(scope="module")
def warm_workers(warm: str) -> Iterator[None]:
    """Processes of a bench begin with the libraries imported; they do not look for their parent."""

    def start(job: Path, started_at: float, threads: int, output: IO[bytes]) -> Command:
        plain = json.loads(job.read_bytes())
        job.write_text(json.dumps({**plain, "parent": 0}), encoding="utf-8")
        words = ["-m", "engine.bench.worker", str(job), repr(started_at)]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "USER": "engine"}
        with Path(os.devnull).open("rb") as nothing:
            files = (nothing.fileno(), output.fileno(), output.fileno())
            return Command(warm, words, str(Path.cwd()), environment, files)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schedule, "start", start)
        yield
