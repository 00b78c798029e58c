"""An index holds what is in the folders: after every change, in any layout, whatever kills it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.core.files import locked
from engine.errors import DataError
from engine.evaluate.predictor import Predictor
from engine.search.building import LOCK, IndexReport, build_index
from engine.search.index import SearchIndex

Indexed = Callable[..., IndexReport]
Contents = Callable[[Path], dict[tuple[str, str], bytes]]


def age(folder: Path) -> None:
    """Set the times of all files back: what was changed just now is always looked at again."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (1_600_000_000, 1_600_000_000))


def test_everything_is_indexed_once(
    indexed: Indexed, photos: Path, encoded: list[int], tmp_path: Path, contents: Contents
) -> None:
    age(photos)
    first = indexed(photos)
    assert (first.found, first.encoded, first.broken) == (9, 8, 1)
    assert (first.pictures, first.vectors) == (8, 8)
    with SearchIndex(tmp_path / "index") as index:
        (broken,) = index.broken()
        assert (broken.path.name, "does not decode" in broken.error) == ("битая.jpg", True)
    before, ran = contents(tmp_path / "index"), sum(encoded)
    again = indexed(photos)
    assert sum(encoded) == ran == 8
    assert (again.unchanged, again.encoded, again.removed) == (9, 0, 0)
    assert contents(tmp_path / "index") == before


def test_changes_are_followed(
    indexed: Indexed, photos: Path, encoded: list[int], tmp_path: Path, contents: Contents
) -> None:
    age(photos)
    indexed(photos)
    (photos / "лето" / "зелёный.png").rename(photos / "переименован.png")
    (photos / "копия.png").write_bytes((photos / "синий.png").read_bytes())
    Image.new("RGB", (9, 9), (1, 2, 3)).save(photos / "красный.png")
    (photos / "битая.jpg").unlink()
    del encoded[:]
    report = indexed(photos)
    assert encoded == [1]  # the changed one; the others are recognised by their bytes
    assert (report.recognised, report.removed, report.broken) == (2, 2, 0)
    assert (report.pictures, report.vectors) == (9, 8)
    places = {Path(path).name for path, _ in contents(tmp_path / "index")}
    assert {"переименован.png", "копия.png"} <= places
    assert not {"зелёный.png", "битая.jpg"} & places


def test_a_file_changed_within_the_grain_of_its_time_is_seen(
    indexed: Indexed, photos: Path
) -> None:
    path, now = photos / "a.bmp", time.time()
    for shade in (10, 20):
        Image.new("RGB", (8, 8), (shade, 0, 0)).save(path)
        os.utime(path, (now, now))  # same size, same time
        report = indexed(photos)
    assert report.encoded == 1


def test_shards_and_layouts(
    indexed: Indexed, photos: Path, tmp_path: Path, contents: Contents
) -> None:
    data = tmp_path / "data"
    (data / "shards").mkdir(parents=True)
    (data / "task" / "img").mkdir(parents=True)
    with tarfile.open(data / "shards" / "00000.tar", "w") as tar:
        for name in ("синий.png", "белый.png"):
            (found,) = photos.rglob(name)
            tar.add(found, name)
        tar.add(photos / "битая.jpg", "битая.txt")  # not a picture: passed over
    (data / "shards" / "bad.tar").write_bytes(b"no tar" * 200)
    (data / "task" / "classes.json").write_text("[]")
    Image.new("RGB", (5, 5), "gold").save(data / "task" / "img" / "1.png")
    age(data)
    report = indexed(data)
    assert (report.pictures, report.broken) == (3, 1)
    found = contents(tmp_path / "index")
    assert {member for _, member in found} == {"", "синий.png", "белый.png"}
    assert indexed(data).encoded == 0
    (data / "shards" / "00000.tar").rename(data / "shards" / "1.tar")
    report = indexed(data)
    assert (report.encoded, report.recognised, report.removed) == (0, 2, 2)


def test_folders_come_and_stay(
    indexed: Indexed, photos: Path, tmp_path: Path, contents: Contents
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (5, 5), "gold").save(other / "1.png")
    indexed(photos)
    assert indexed(other).pictures == 9  # what is not named stays
    assert indexed(photos, other).removed == 0
    (other / "1.png").rename(tmp_path / "1.png")
    with pytest.raises(DataError, match="which stay"):  # a disk that is not connected
        indexed(other)
    with pytest.raises(DataError, match="no such folder"):
        indexed(tmp_path / "none")
    assert len(contents(tmp_path / "index")) == 10


def test_another_model_or_writer_is_refused(
    indexed: Indexed, photos: Path, predictor: Predictor, tmp_path: Path
) -> None:
    indexed(photos)
    with (
        locked(tmp_path / "index" / LOCK, "taken"),
        pytest.raises(DataError, match="by another process"),
    ):
        indexed(photos)
    predictor.model.text.table.weight.data += 1
    with pytest.raises(DataError, match="with another model, `colours`"):
        indexed(photos)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    with pytest.raises(DataError, match="is not empty"):
        build_index(tmp_path / "full", [photos], predictor)


def test_vectors_are_those_of_the_model(
    indexed: Indexed, photos: Path, predictor: Predictor, tmp_path: Path, contents: Contents
) -> None:
    indexed(photos, reduced=False)
    for (path, _), vector in contents(tmp_path / "index").items():
        if not path.endswith("битая.jpg"):
            expected = predictor.encode_images(path)[0]
            np.testing.assert_allclose(np.frombuffer(vector, np.float32), expected, atol=1e-6)


_INDEX = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
import engine
from engine.search.building import build_index
build_index(Path(sys.argv[3]), [Path(sys.argv[2])], engine.load(sys.argv[1]), workers=1)
"""


@pytest.mark.slow
def test_killed_twenty_times_the_index_is_the_same(
    built: Path, tmp_path: Path, contents: Contents
) -> None:
    """SIGKILL at any moment; the run that is let finish gives the index of an undisturbed one."""
    photos = tmp_path / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for number in range(600):
        pixels = rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{number:03}.png", compress_level=1)
    age(photos)

    def start(name: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", _INDEX, built, photos, tmp_path / name])

    assert start("whole").wait() == 0
    kills, stored = 0, []
    for turn in range(20):
        process = start("killed")
        deadline = time.monotonic() + 60
        while not (tmp_path / "killed" / "pictures.sqlite").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.05 + 0.03 * (turn % 7))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        stored.append(len(contents(tmp_path / "killed")) if kills == turn + 1 else 600)
    assert kills >= 3
    assert stored == sorted(stored)  # nothing that was stored is lost
    assert start("killed").wait() == 0
    whole, killed = contents(tmp_path / "whole"), contents(tmp_path / "killed")
    assert whole.keys() == killed.keys()
    for place, vector in whole.items():
        ours, theirs = np.frombuffer(vector, np.float32), np.frombuffer(killed[place], np.float32)
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
