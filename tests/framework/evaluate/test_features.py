"""Vision features kept on disk: a tower sees a picture once, and no number changes by it."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from engine.contracts import Dataset, Projection, ProjectionSettings
from engine.contracts.settings import PluginRef
from engine.core.config import load_config
from engine.core.model import DualEncoder
from engine.errors import DataError
from engine.evaluate.features import FeatureCache
from engine.evaluate.predictor import Predictor
from engine.evaluate.runner import DatasetRun, run

Make = Callable[..., Dataset]
CLASSES = ["красный", "зелёный", "синий"]


class Learned(Projection):
    """A matrix."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.matrix = nn.Linear(self.in_width, self.out_width)

    def project(self, features: torch.Tensor) -> torch.Tensor:
        return self.matrix(features)


class Greedy(Learned):
    """Reads more than the features."""

    reads: ClassVar[frozenset[str]] = frozenset({"hidden"})


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """Numbers that are compared to the last bit need the same number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def vision(root: Path) -> PluginRef:
    """A small transformer's settings."""
    return load_config(root / "configs" / "tiny" / "sber.yaml").model.vision


@pytest.fixture
def model(predictor: Predictor, vision: PluginRef) -> Predictor:
    """The colour model with that transformer as its eyes."""
    torch.manual_seed(1)
    tower = vision.create()
    projection = Learned(ProjectionSettings(), tower.width, 3)
    return with_parts(predictor, tower, projection, vision)


def with_parts(
    predictor: Predictor, tower: Any, projection: Projection, use: PluginRef
) -> Predictor:
    old = predictor.model
    model = DualEncoder(tower, old.text, projection, old.text_projection, 3.0)
    config = SimpleNamespace(**vars(predictor.config))
    config.model = SimpleNamespace(vision=use, text=predictor.config.model.text)
    built: Any = SimpleNamespace(
        model=model, tokenizer=predictor.tokenizer, config=config, manifest={}
    )
    return Predictor(built)


def picture(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (70, 90, 3), dtype=np.uint8))


def data(pictures: Make, seeds: Sequence[int]) -> Dataset:
    return pictures("d", CLASSES, [(f"id {i}", picture(seed), 0) for i, seed in enumerate(seeds)])


def run_in(folder: Path, model: Predictor, dataset: Dataset, size: int = 4) -> DatasetRun:
    with FeatureCache(folder) as cache:
        found = run(model, dataset, features=cache, keep_vectors=True, batch_size=size)
        assert cache.computed == found.tower_rows
        assert cache.computed + cache.found == len(found.rows)
    return found


def plain(model: Predictor, dataset: Dataset) -> DatasetRun:
    return run(model, dataset, keep_vectors=True, batch_size=4)


def same(a: DatasetRun, b: DatasetRun) -> bool:
    assert a.vectors is not None
    assert b.vectors is not None
    return a.rows == b.rows and torch.equal(a.vectors, b.vectors)


def rows_run(model: Predictor, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each call of the tower from now on."""
    found: list[int] = []
    real = model.model.vision.run

    def counted(state: Any, start: int, stop: int, **options: Any) -> Any:
        found.append(len(state["pixels"]))
        return real(state, start, stop, **options)

    monkeypatch.setattr(model.model.vision, "run", counted)
    return found


def test_a_second_run_runs_no_tower_and_changes_no_bit(
    model: Predictor, pictures: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = data(pictures, range(10))
    expected = plain(model, dataset)
    assert expected.tower_rows == 10
    calls = rows_run(model, monkeypatch)
    first = run_in(tmp_path, model, dataset)
    assert calls == [4, 4, 2]
    assert (first.tower_rows, first.to_json()["tower_rows"]) == (10, 10)
    second = run_in(tmp_path, model, dataset)
    assert calls == [4, 4, 2]
    assert second.tower_rows == 0
    assert same(first, expected)
    assert same(second, expected)


def test_a_model_that_shares_the_tower_shares_the_pictures(
    model: Predictor, vision: PluginRef, pictures: Make, tmp_path: Path
) -> None:
    dataset = data(pictures, range(10))
    run_in(tmp_path, model, dataset)
    torch.manual_seed(7)
    other = with_parts(
        model,
        copy.deepcopy(model.model.vision),
        Learned(ProjectionSettings(), model.model.vision.width, 3),
        vision,
    )
    found = run_in(tmp_path, other, dataset)
    assert found.tower_rows == 0
    assert same(found, plain(other, dataset))
    assert not same(found, plain(model, dataset))


def test_any_change_of_the_tower_runs_every_picture(
    model: Predictor, vision: PluginRef, pictures: Make, tmp_path: Path
) -> None:
    dataset = data(pictures, range(6))
    run_in(tmp_path, model, dataset)
    tower = model.model.vision
    with torch.no_grad():
        next(tower.parameters()).view(-1)[0] += 1e-3
    changed = run_in(tmp_path, model, dataset)
    assert changed.tower_rows == 6
    assert same(changed, plain(model, dataset))
    with torch.no_grad():  # within one run of a program, too
        next(tower.parameters()).view(-1)[0] += 1e-3
    assert run_in(tmp_path, model, dataset).tower_rows == 6
    settings_ = vision.settings.model_copy(update={"heads": 2})
    use = PluginRef(vision.plugin, settings_)
    same_weights = use.create()
    same_weights.load_state_dict(tower.state_dict())
    other = with_parts(model, same_weights, model.model.vision_projection, use)
    assert run_in(tmp_path, other, dataset).tower_rows == 6


def test_weights_changed_between_two_runs_of_one_cache(
    model: Predictor, pictures: Make, tmp_path: Path
) -> None:
    dataset = data(pictures, range(5))
    with FeatureCache(tmp_path) as cache:
        run(model, dataset, features=cache)
        model.model.vision.segments()[-1].parameters()[-1].data[0] += 1
        assert run(model, dataset, features=cache).tower_rows == 5
        assert run(model, dataset, features=cache).tower_rows == 0


def test_pictures_are_known_by_their_pixels(
    model: Predictor, pictures: Make, tmp_path: Path
) -> None:
    run_in(tmp_path, model, data(pictures, [0, 1, 2]))
    moved = pictures("other", CLASSES, [("z", picture(2), 1), ("broken", "torn", 0)])
    assert run_in(tmp_path, model, moved).tower_rows == 0
    changed = picture(2)
    changed.paste((0, 0, 0), (20, 20, 60, 60))
    again = pictures("d", CLASSES, [("id 0", picture(0), 0), ("id 2", changed, 0)])
    found = run_in(tmp_path, model, again)
    assert found.tower_rows == 1
    expected = plain(model, again)
    assert found.predictions == expected.predictions
    torch.testing.assert_close(found.vectors, expected.vectors, rtol=0, atol=1e-5)


@given(
    first=st.lists(st.integers(0, 5), min_size=1, max_size=9),
    second=st.lists(st.integers(0, 5), min_size=1, max_size=9),
    size=st.integers(1, 5),
)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_mixture_of_old_and_new_pictures(
    model: Predictor, pictures: Make, tmp_path_factory: pytest.TempPathFactory,
    first: list[int], second: list[int], size: int,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("mixture")
    datasets = [data(pictures, seeds) for seeds in (first, second)]
    with FeatureCache(folder) as cache:
        run(model, datasets[0], features=cache, batch_size=size)
        before = cache.computed
        mixed = run(model, datasets[1], features=cache, batch_size=size, keep_vectors=True)
        assert cache.computed - before >= len(set(second) - set(first))
        assert cache.found >= sum(seed in first for seed in second)
        assert len(next(iter(cache._prefixes.values())).cache) == len({*first, *second})
    again = run_in(folder, model, datasets[1], size)
    assert again.tower_rows == 0
    assert same(again, mixed)
    expected = plain(model, datasets[1])
    torch.testing.assert_close(again.vectors, expected.vectors, rtol=0, atol=1e-5)


def test_several_at_once_see_what_the_others_wrote(
    model: Predictor, pictures: Make, tmp_path: Path
) -> None:
    one, two = FeatureCache(tmp_path), FeatureCache(tmp_path)
    assert run(model, data(pictures, [0, 1]), features=one).tower_rows == 2
    assert run(model, data(pictures, [1, 2]), features=two).tower_rows == 1
    assert run(model, data(pictures, [0, 2]), features=one).tower_rows == 0
    one.close()
    two.close()
    assert run_in(tmp_path, model, data(pictures, [0, 1, 2])).tower_rows == 0


def test_a_damaged_item_is_computed_again(
    model: Predictor, pictures: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = data(pictures, range(5))
    run_in(tmp_path, model, dataset)
    (file,) = tmp_path.rglob("data")
    stored = bytearray(file.read_bytes())
    stored[40] ^= 1
    file.write_bytes(stored)
    with FeatureCache(tmp_path) as cache:
        found = run(model, dataset, features=cache, keep_vectors=True, batch_size=4)
    assert found.tower_rows == 1
    assert "damaged" in caplog.messages[0]
    expected = plain(model, dataset)
    torch.testing.assert_close(found.vectors, expected.vectors, rtol=0, atol=1e-5)


def test_the_folder_stays_within_its_budget(
    model: Predictor, pictures: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limit = 34_000  # an empty index takes 12 kB, and a margin is kept for it to grow
    dataset = data(pictures, range(60))
    with FeatureCache(tmp_path, budget=limit) as cache:
        found = run(model, dataset, features=cache, keep_vectors=True, batch_size=4)
        assert same(found, plain(model, dataset))
    used = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert 12_500 < used <= limit
    assert len(caplog.messages) == 1
    assert "budget" in caplog.messages[0]
    # A model of another tower makes room for itself.
    with torch.no_grad():
        next(model.model.vision.parameters()).view(-1)[0] += 1
    with FeatureCache(tmp_path, budget=limit) as cache:
        run(model, data(pictures, range(4)), features=cache)
    assert run_in(tmp_path, model, data(pictures, range(4))).tower_rows == 0
    assert len(list(tmp_path.glob("vision-*"))) == 1


def full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    "where", ["engine.cache.budget.open_for_lock", "engine.cache.store.Index", "pathlib.Path.mkdir"]
)
def test_a_disk_that_is_full_is_no_error(
    model: Predictor,
    pictures: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    dataset = data(pictures, range(5))
    with monkeypatch.context() as patched:
        patched.setattr(where, full)
        with FeatureCache(tmp_path) as cache:
            found = run(model, dataset, features=cache, keep_vectors=True, batch_size=4)
    assert "No space left on device" in caplog.messages[0]
    assert len(caplog.messages) == 1
    assert found.tower_rows == 5
    assert same(found, plain(model, dataset))


def test_a_disk_that_fills_up_is_no_error(
    model: Predictor,
    pictures: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    dataset = data(pictures, range(9))
    real, left = os.pwritev, [1]

    def write(file: int, buffers: Any, at: int) -> int:
        left[0] -= 1
        if left[0] < 0:
            full()
        return real(file, buffers, at)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwritev", write)
        with FeatureCache(tmp_path) as cache:
            found = run(model, dataset, features=cache, keep_vectors=True, batch_size=4)
    assert same(found, plain(model, dataset))
    assert "No space left on device" in caplog.messages[0]
    assert run_in(tmp_path, model, dataset).tower_rows == 5


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(DataError, match="cannot be used"):
            FeatureCache(folder)


def test_a_projection_that_reads_more_than_features_is_not_cached(
    model: Predictor,
    vision: PluginRef,
    pictures: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tower = model.model.vision
    real = tower.run

    def run_with_hidden(state: Any, start: int, stop: int, **options: Any) -> Any:
        return {
            **real(state, start, stop, **options),
            "hidden": torch.zeros(len(state["pixels"]), 2),
        }

    monkeypatch.setattr(tower, "run", run_with_hidden)
    greedy = with_parts(model, tower, Greedy(ProjectionSettings(), tower.width, 3), vision)
    dataset = data(pictures, range(3))
    for _ in range(2):
        assert run_in(tmp_path, greedy, dataset).tower_rows == 3
    assert not list(tmp_path.glob("vision-*"))
