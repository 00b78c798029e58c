"""Readers: threads and processes give the same pixels; a process that dies is named."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.contracts.dataset import Dataset, Record
from engine.contracts.preprocess import SquarePreprocess, wanted_side
from engine.core.config.train_schema import AugmentSettings
from engine.data.readers import ProcessReaders, ThreadReaders
from engine.data.views import ViewReader
from engine.errors import BrokenImageError, DataError, PluginError
from engine_plugins.datasets.settings import ShapesSettings
from engine_plugins.datasets.shapes import Shapes

PREPROCESS = SquarePreprocess(24)


def shapes(count: int = 20) -> Shapes:
    return Shapes(ShapesSettings(count=count, size=32))


@pytest.mark.parametrize("augment", [None, AugmentSettings(views=3)])
def test_processes_read_what_threads_read(augment: AugmentSettings | None) -> None:
    reader = ViewReader(shapes(), PREPROCESS, augment, 5)
    threads, processes = ThreadReaders(reader, 2), ProcessReaders(reader, 2)
    try:
        asked = [(index, view) for index in range(20) for view in range(3)]
        here = [threads.submit(*each) for each in asked]
        there = [processes.submit(*each) for each in asked]
        for one, other in zip(here, there, strict=True):
            assert np.array_equal(one.result(60), other.result(60))
    finally:
        threads.close()
        processes.close()
    assert all(worker._process.poll() == 0 for worker in processes._workers)


def test_a_process_that_dies_is_named_and_nobody_waits() -> None:
    processes = ProcessReaders(ViewReader(shapes(), PREPROCESS), 2)
    try:
        assert not isinstance(processes.submit(0, 0).result(60), str)
        waiting = [processes.submit(index % 20, 0) for index in range(40)]
        os.kill(processes._workers[0].pid, signal.SIGKILL)
        with pytest.raises(DataError, match="exit code -9"):
            for _ in range(1000):
                waiting.append(processes.submit(1, 0))
                waiting.pop(0).result(60)
        with pytest.raises(DataError, match="ended by itself"):
            processes.submit(0, 0).result(60)
    finally:
        processes.close()


class Unpicklable(Shapes):
    def __reduce__(self) -> str:
        raise TypeError("it holds a socket")


def test_what_cannot_go_to_a_process_is_refused() -> None:
    with pytest.raises(DataError, match="holds a socket"):
        ProcessReaders(ViewReader(Unpicklable(ShapesSettings(count=3)), PREPROCESS), 1)


class Broken(Dataset):
    name = "broken"

    def __len__(self) -> int:
        return 3

    def record(self, index: int) -> Record:
        return Record(str(index))

    def image(self, index: int) -> Image.Image:
        if index == 1:
            raise BrokenImageError("1: cut short", reason="cut short")
        if index == 2:
            raise ValueError("own fault")
        return Image.new("RGB", (30, 30))


def test_broken_pictures_come_back_as_reasons() -> None:
    readers = ThreadReaders(ViewReader(Broken(), PREPROCESS), 1)
    assert readers.submit(1, 0).result() == "cut short"
    assert readers.submit(2, 0).result() == "ValueError: own fault"
    readers.close()


class Wrong(SquarePreprocess):
    def to_array(self, image: Image.Image) -> np.ndarray:  # type: ignore[type-arg]
        return np.zeros((3, 3), np.uint8)


def test_a_preprocessing_that_is_wrong_is_an_error() -> None:
    readers = ThreadReaders(ViewReader(Broken(), Wrong(24)), 1)
    with pytest.raises(PluginError, match="uint8 is expected"):
        readers.submit(0, 0).result()
    readers.close()


@pytest.mark.parametrize("resize", ["shorter_side", "crop_first", "squash"])
@pytest.mark.parametrize("crop_pct", [1.0, 0.875])
def test_a_picture_is_never_too_small(resize: str, crop_pct: float) -> None:
    preprocess = SquarePreprocess(224, resize=resize, crop_pct=crop_pct)  # type: ignore[arg-type]
    assert wanted_side(preprocess) == (224 if crop_pct == 1 else 256)
    augment = AugmentSettings(crop=(0.5, 1.0))
    reader = ViewReader(Broken(), preprocess, augment)
    # The smallest crop of such a square, 3 to 4, is as high as the tower's square.
    assert reader.side * np.sqrt(0.5 * 3 / 4) >= wanted_side(preprocess)


def test_closing_cancels_what_was_not_begun(tmp_path: Path) -> None:
    processes = ProcessReaders(ViewReader(shapes(), PREPROCESS), 1)
    futures = [processes.submit(index % 20, 0) for index in range(200)]
    processes.close()
    assert all(future.done() for future in futures)
    assert futures[-1].cancelled()
