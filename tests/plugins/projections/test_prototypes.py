"""Whitened prototypes and kernel ridge: against scikit-learn, and against scores by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.kernel_ridge import KernelRidge as Original

from engine.contracts import ActivationPoint, Dataset, PluginRef, Record, Teacher
from engine.contracts.teacher import TeacherSettings
from engine.core.fingerprint import tower_fingerprint
from engine.errors import DataError
from engine_plugins.projections.prototypes import KernelRidge, Whitened
from engine_plugins.projections.settings import KernelRidgeSettings, WhitenedSettings

WIDTH, CLASSES, DIM, OUT = 16, 12, 7, 5


class Prototypes(Dataset):
    """Unit rows with a name each."""

    name = "prototypes"
    has_images = False
    languages = ("en",)

    def __init__(self, fingerprint: str) -> None:
        rows = np.random.default_rng(0).standard_normal((CLASSES, WIDTH)).astype(np.float32)
        self.rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        self.activations = ActivationPoint(WIDTH, fingerprint)

    def __len__(self) -> int:
        return CLASSES

    def record(self, index: int) -> Record:
        return Record(str(index), (f"name {index}",), languages=self.languages)

    def activation(self, index: int) -> NDArray[np.float32]:
        return self.rows[index]


class Directions(Teacher):
    """A random direction for each text."""

    width = DIM

    def identity(self) -> str:
        return "directions"

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        seeds = [sum(map(ord, text)) for text in texts]
        return np.array([np.random.default_rng(s).standard_normal(DIM) for s in seeds], np.float32)


class Plugged:
    """A plugin as the registry would give it."""

    kind, name = "any", "plugged"

    def __init__(self, make: Callable[[Any], Any], settings: type[Any]) -> None:
        self.make, self.settings = make, settings

    def load(self) -> Any:
        return self.make

    def load_settings(self) -> Any:
        return self.settings


@pytest.fixture
def tower(make_use: Callable[..., PluginRef]) -> Any:
    torch.manual_seed(0)
    return make_use("vision_tower", "small_vit", image_size=16, convolutions=2, width=WIDTH,
                    layers=1, heads=2).create()  # fmt: skip


def settings_of(dataset: Dataset, teacher: type[Teacher] = Directions, **more: Any) -> Any:
    of = PluginRef(Plugged(lambda s: dataset, TeacherSettings), TeacherSettings())
    taught = PluginRef(Plugged(teacher, TeacherSettings), TeacherSettings(language="en"))
    values = {"anchors": CLASSES, "gamma": 2.0, "ridge": 0.5, **more}
    return KernelRidgeSettings.model_construct(of=of, teacher=taught, **values)


def fitted(dataset: Prototypes, tower: Any) -> tuple[Whitened, KernelRidge]:
    image = Whitened(WhitenedSettings.model_construct(of=settings_of(dataset).of), WIDTH, OUT)
    text = KernelRidge(settings_of(dataset), DIM, OUT, embedding_width=3)
    assert image.fit(tower) == "the covariance of prototypes"
    assert "prototypes" in text.fit(tower)
    return image, text


def test_kernel_ridge_is_scikit_learns(tower: Any) -> None:
    dataset = Prototypes(tower_fingerprint(tower))
    _, text = fitted(dataset, tower)
    names = Directions(TeacherSettings()).encode_texts([f"name {i}" for i in range(CLASSES)])
    names = names / np.linalg.norm(names, axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(dataset.rows.T.astype(float) @ dataset.rows / CLASSES)
    scaled = dataset.rows @ (vectors[:, ::-1][:, :OUT] * np.sqrt(values[::-1][:OUT]))
    scaled = scaled * np.sign(  # the sign of an axis is free
        (text.coefficients.detach().numpy() * np.linalg.solve(
            np.exp(2 * (names @ names.T - 1)) + 0.5 * np.eye(CLASSES), scaled)).sum(axis=0)
    )  # fmt: skip
    original = Original(alpha=0.5, kernel=lambda a, b: np.exp(2 * (a @ b - 1))).fit(names, scaled)
    tried = np.random.default_rng(1).standard_normal((4, DIM)).astype(np.float32)
    unit = tried / np.linalg.norm(tried, axis=1, keepdims=True)
    found = text.project(torch.from_numpy(tried)).detach().numpy()
    np.testing.assert_allclose(found, original.predict(unit), rtol=1e-3, atol=1e-5)


def test_texts_count_by_their_weights(tower: Any) -> None:
    """A text that counts three times as much is one that stands there three times."""
    fitted_on = []
    for texts, weights in ((("a", "b"), (3.0, 1.0)), (("a", "a", "a", "b"), ())):
        dataset = Prototypes(tower_fingerprint(tower))
        dataset.record = lambda index, texts=texts, weights=weights: Record(  # type: ignore
            str(index), tuple(f"{text}{index}" for text in texts),
            languages=("en",) * len(texts), text_weights=weights,
        )  # fmt: skip
        fitted_on.append(fitted(dataset, tower)[1].anchors.detach().numpy())
    np.testing.assert_allclose(*fitted_on, rtol=1e-5, atol=1e-6)


def test_cosines_are_scores_standardised_by_class(tower: Any) -> None:
    """At full rank, up to a factor of the image: (x . t) / deviation of p . t over prototypes."""
    dataset = Prototypes(tower_fingerprint(tower))
    image = Whitened(WhitenedSettings.model_construct(of=settings_of(dataset).of), WIDTH, CLASSES)
    text = KernelRidge(settings_of(dataset), DIM, CLASSES, embedding_width=3)
    image.fit(tower)
    text.fit(tower)
    rng = np.random.default_rng(2)
    x = dataset.rows[:3] + 0.1 * dataset.rows[3:6]  # within the span of the prototypes
    features = torch.from_numpy(rng.standard_normal((6, DIM)).astype(np.float32))
    own = image.project(torch.from_numpy(x)).detach().numpy()
    embedded = text.project(features).detach().numpy()
    cosines = (own @ embedded.T) / np.linalg.norm(embedded, axis=1)
    raw = own @ embedded.T
    deviation = np.sqrt(((image.project(torch.from_numpy(dataset.rows)).detach().numpy()
                          @ embedded.T) ** 2).mean(axis=0))  # fmt: skip
    np.testing.assert_allclose(cosines, raw / deviation, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"anchors": 5}, "12 prototypes, `anchors` says 5"),
        ({"width": 9}, "teacher gives 7 numbers, the text encoder 9"),
        ({"out": 13}, "spans 12 dimensions, and the joint space has 13"),
        ({"fingerprint": "0" * 32}, "another vision tower"),
        ({"languages": ("de",)}, "`0` of `prototypes` has no text"),
        ({"activations": None}, "has no activations"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str, tower: Any) -> None:
    dataset = Prototypes(change.get("fingerprint", tower_fingerprint(tower)))
    for name in ("languages", "activations"):
        if name in change:
            setattr(dataset, name, change[name])
    more = {"anchors": change["anchors"]} if "anchors" in change else {}
    projection = KernelRidge(settings_of(dataset, **more), change.get("width", DIM),
                             change.get("out", OUT), embedding_width=3)  # fmt: skip
    with pytest.raises(DataError, match=words):
        projection.fit(tower)
