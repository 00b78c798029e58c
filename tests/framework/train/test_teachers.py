"""Teachers: asked once for each distinct text, what they gave goes to the right rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.contracts import ActivationPoint, Dataset, PluginRef, Record, Teacher
from engine.contracts.teacher import TeacherSettings
from engine.core.build import build
from engine.core.config.schema import EngineConfig
from engine.core.fingerprint import tower_fingerprint
from engine.errors import ConfigError, DataError
from engine.train.data import TrainingRows
from engine.train.loop import Trainer

MakeConfig = Callable[..., EngineConfig]
ASKED: list[str] = []
WIDTH = 16


def vector(text: str) -> NDArray[np.float32]:
    """What the teacher gives for a text."""
    seed = sum(ord(c) * 31**i for i, c in enumerate(text)) % 2**32
    found: NDArray[np.float32] = np.random.default_rng(seed).standard_normal(WIDTH, np.float32)
    return found


class Counting(Teacher):
    """Keeps what it was asked."""

    width = WIDTH
    gives = frozenset({"text", "image"})

    def identity(self) -> str:
        return "counting"

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        ASKED.extend(texts)
        return np.stack([vector(text) for text in texts])

    def encode_images(self, images: Sequence[Any]) -> NDArray[np.float32]:
        ASKED.extend(str(image.size) for image in images)
        return np.stack([vector(str(np.asarray(image).sum())) for image in images])


class Words(Dataset):
    """Words in two languages; the English ones by weight, and shared by rows."""

    name = "words"
    has_images = False
    count = 12

    def __init__(self, settings: Any = None) -> None:
        self.settings = settings

    def __len__(self) -> int:
        return self.count

    def record(self, index: int) -> Record:
        if not 0 <= index < self.count:
            raise IndexError(index)
        queries = (f"слово {index}", f"word {index // 2}", "thing")
        return Record(
            str(index), queries, languages=("ru", "en", "en"), text_weights=(1.0, 3.0, 1.0)
        )


class Vectors(Words):
    """A vector a row, as if the vision tower had given it."""

    name = "vectors"
    point = ActivationPoint(16, "")

    @property
    def activations(self) -> ActivationPoint:  # type: ignore[override]
        return self.point

    def activation(self, index: int) -> NDArray[np.float32]:
        return np.full(16, index + 1, np.float32)


class Plugged:
    """The teacher as the registry would give it."""

    kind, name = "teacher", "counting"

    def load(self) -> type[Counting]:
        return Counting

    def load_settings(self) -> type[TeacherSettings]:
        return TeacherSettings


def config_of(
    make_config: MakeConfig, language: str | None, *losses: dict[str, Any], **more: Any
) -> EngineConfig:
    """The little config, taught."""
    trains = "train.stages.0.trains={text: true, vision_projection: false, text_projection: false}"
    config = make_config(f"train.stages.0.losses={list(losses)}", trains,
                         "train.stages.0.batch_size=4", *more.pop("overrides", ()))  # fmt: skip
    assert config.train is not None
    teacher = PluginRef(Plugged(), TeacherSettings(language=language))
    train = config.train.model_copy(update={"teachers": {"one": teacher}, **more})
    return config.model_copy(update={"train": train})


DISTILL = {"use": "distill", "teacher": "one"}


def trainer_of(config: EngineConfig, dataset: Dataset, folder: Path) -> Trainer:
    built = build(config)
    assert config.train is not None
    settings = [use.settings.language for use in config.train.teachers.values()]
    data = TrainingRows(
        dataset, built.tokenizer, 15, languages=config.train.languages,
        taught_in=[language for language in settings if language],
    )  # fmt: skip
    folder.mkdir(exist_ok=True)
    return Trainer(built, data, folder)


def targets(trainer: Trainer, rows: list[int]) -> NDArray[np.float32]:
    data = trainer.data
    numbers = np.array(rows)
    texts, counts = data.every(numbers)
    found: NDArray[np.float32] = trainer.sources.teachers.given(numbers, texts, counts)[
        "teacher.one.text"
    ]
    return found


@pytest.fixture(autouse=True)
def fresh() -> None:
    ASKED.clear()


def test_a_language_of_the_teacher(make_config: MakeConfig, tmp_path: Path) -> None:
    """The student reads Russian, the teacher the weighted mean of the English texts."""
    config = config_of(make_config, "en", DISTILL, languages=("ru",))
    trainer = trainer_of(config, Words(), tmp_path / "run")
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    trainer.run()
    assert sorted(ASKED) == sorted({f"word {i}" for i in range(6)} | {"thing"})
    expected = [(3 * vector(f"word {i // 2}") + vector("thing")) / 4 for i in (0, 5, 11)]
    np.testing.assert_allclose(targets(trainer, [0, 5, 11]), expected, rtol=1e-5)
    after = trainer.model.state_dict()
    assert any(not torch.equal(after[k], before[k]) for k in after if k.startswith("text."))
    assert all(torch.equal(after[k], before[k]) for k in after if not k.startswith("text."))
    assert len(trainer.data.sequence) == 12  # no English text reached the student

    ASKED.clear()
    again = trainer_of(config, Words(), tmp_path / "run")
    again.run()
    assert ASKED == []  # everything came from the cache
    np.testing.assert_array_equal(targets(again, [0, 5]), targets(trainer, [0, 5]))


def test_the_text_that_the_student_reads(make_config: MakeConfig, tmp_path: Path) -> None:
    config = config_of(make_config, None, DISTILL)
    trainer = trainer_of(config, Words(), tmp_path / "run")
    trainer.run()
    assert len(ASKED) == len(set(ASKED)) == 12 + 6 + 1
    teachers = trainer.sources.teachers
    given = teachers.given(np.array([3]), np.array([3 * 3 + 1]), np.array([1]))
    np.testing.assert_allclose(given["teacher.one.text"], [vector("word 1")], rtol=1e-6)
    mean = np.mean([vector("слово 3"), vector("word 1"), vector("thing")], axis=0)
    np.testing.assert_allclose(targets(trainer, [3]), [mean], rtol=1e-4, atol=1e-6)


def test_a_teacher_of_images(make_config: MakeConfig, tmp_path: Path) -> None:
    loss = {"use": "affinity", "teacher": "one"}
    config = config_of(make_config, None, loss)
    assert config.data.train is not None
    dataset = config.data.train.create()
    trainer = trainer_of(config, dataset, tmp_path / "run")
    trainer.run()
    rows = np.array([7])
    given = trainer.sources.teachers.given(rows, rows, np.array([1]))["teacher.one.image"]
    image = np.asarray(dataset.image(int(trainer.data.rows[7])))
    np.testing.assert_allclose(given, [vector(str(image.sum()))], rtol=1e-6)


def test_what_is_not_read_is_not_computed(make_config: MakeConfig, tmp_path: Path) -> None:
    loss = {"use": "distill", "teacher": "one", "from": "text", "of": "text.embedding"}
    trainer = trainer_of(config_of(make_config, "en", loss, languages=("ru",)), Words(),
                         tmp_path / "run")  # fmt: skip
    trainer.run()
    assert trainer.sources.teachers.names == {"teacher.one.text"}


@pytest.mark.parametrize(
    ("language", "loss", "words"),
    [
        ("en", {"use": "contrastive"}, "image.embedding"),
        ("en", {"use": "distill", "teacher": "two"}, "train.teachers"),
        ("en", {"use": "affinity", "teacher": "one"}, "image.embedding"),
        ("en", {"use": "distill", "teacher": "one", "from": "image"}, "have no images"),
        ("en", {"use": "distill", "teacher": "one", "map": [16, 9]}, "16 wide"),
        ("en", {"use": "distill", "teacher": "one", "of": "text.embedding"}, "map: [8, 16]"),
        ("en", {"use": "teacher_logits", "teacher": "one"}, "model.embed_dim: 16"),
    ],
)
def test_what_cannot_be_taught_is_refused(
    language: str, loss: dict[str, Any], words: str, make_config: MakeConfig, tmp_path: Path
) -> None:
    narrow = ["model.embed_dim=8"] if "[8, 16]" in words or "embed_dim" in words else []
    config = config_of(make_config, language, loss, languages=("ru",), overrides=narrow)
    with pytest.raises(ConfigError) as caught:
        trainer_of(config, Words(), tmp_path / "run").run()
    assert words in f"{caught.value.message} {caught.value.hint}"


def test_the_vision_tower_cannot_train_without_images(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = config_of(make_config, "en", DISTILL, languages=("ru",),
                       overrides=["train.stages.0.trains={vision: true, text: true}"])  # fmt: skip
    with pytest.raises(ConfigError, match="vision tower cannot train"):
        trainer_of(config, Words(), tmp_path / "run").run()


def test_rows_without_a_language_are_counted(make_config: MakeConfig) -> None:
    built = build(make_config())
    dataset = Words()
    data = TrainingRows(dataset, built.tokenizer, 15, languages=["ru"], taught_in=["en"])
    assert (len(data), data.without_text) == (12, 0)
    with pytest.raises(DataError, match="text to train on in de and ru"):
        TrainingRows(dataset, built.tokenizer, 15, languages=["ru"], taught_in=["de"])


def test_activations_instead_of_images(make_config: MakeConfig, tmp_path: Path) -> None:
    """The vectors go into the projection as if the tower had given them."""
    config = config_of(make_config, "en", {"use": "contrastive"}, languages=("ru",))
    config = config.model_copy(update={"train": config.train.model_copy(  # type: ignore[union-attr]
        update={"teachers": {}})})  # fmt: skip
    dataset = Vectors()
    tower = build(config).model.vision
    dataset.point = ActivationPoint(16, tower_fingerprint(tower))
    trainer = trainer_of(config, dataset, tmp_path / "run")
    trainer.run()
    stage = trainer.state.finished_stages[0]
    assert stage["steps"] == 6
    assert np.isfinite(stage["loss"])

    for point, words in (
        (ActivationPoint(16, "0" * 32), "another vision tower"),
        (ActivationPoint(9, tower_fingerprint(tower)), "vectors of 9 numbers"),
        (ActivationPoint(16, tower_fingerprint(tower), "hidden"), "image.hidden"),
    ):
        dataset.point = point
        with pytest.raises(DataError, match=words):
            trainer_of(config, dataset, tmp_path / f"run{point.point}{point.width}").run()


def test_sparse_gradients_train_the_same(make_config: MakeConfig, tmp_path: Path) -> None:
    """A table with sparse gradients takes the same first step as with dense ones."""
    found = []
    for sparse in (True, False):
        text = (
            "model.text={use: bag_of_ngrams, vocab_size: 50, width: 8, out_width: 16,"
            f" sparse: {sparse}}}"
        )
        config = config_of(
            make_config, "en", DISTILL, languages=("ru",),
            overrides=[text, "train.stages.0.epochs=1", "train.stages.0.batch_size=12",
                       "train.stages.0.clip_gradients=0.01",
                       "train.stages.0.optimizer={use: sparse_adam, lr: 0.01, weight_decay: 0}"],
        )  # fmt: skip
        trainer = trainer_of(config, Words(), tmp_path / f"run{sparse}")
        trainer.run()
        found.append(trainer.model.text.state_dict())
    for name, tensor in found[0].items():
        torch.testing.assert_close(tensor, found[1][name], msg=name)


def test_the_cache_may_be_left_out(make_config: MakeConfig, tmp_path: Path) -> None:
    config = config_of(make_config, "en", DISTILL, languages=("ru",),
                       overrides=["train.cache.use=false"])  # fmt: skip
    trainer = trainer_of(config, Words(), tmp_path / "run")
    trainer.run()
    assert len(ASKED) == 7
    assert np.isfinite(targets(trainer, [1])).all()
