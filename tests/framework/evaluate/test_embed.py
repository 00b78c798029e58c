"""`engine embed`: shards of vectors, the same bytes after any stop, read by the dataset."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.core.fingerprint import tower_fingerprint
from engine.core.registry import default_registry
from engine.data.picture_folder import PictureFolder
from engine.data.store_folder import StoreFolder
from engine.errors import DataError
from engine.evaluate.embed import embed
from engine.evaluate.predictor import Predictor


@pytest.fixture
def log(tmp_path: Path, colours: dict[str, Image.Image]) -> Path:
    """A click log: seven colours, two queries each, and one broken picture."""
    folder = tmp_path / "log"
    (folder / "images").mkdir(parents=True)
    lines = []
    for number, (name, picture) in enumerate(colours.items()):
        picture.save(folder / "images" / f"{number}.jpg", quality=95)
        lines.append(json.dumps({"image": number, "queries": [name, f"{name} цвет"]}))
    (folder / "images" / "3.jpg").write_bytes(b"not a picture")
    (folder / "metadata.json").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def dataset(name: str, path: object) -> Any:
    plugin = default_registry().get("dataset", name)
    return plugin.load()(plugin.load_settings().model_validate({"path": path}))


def contents(place: StoreFolder) -> dict[str, bytes]:
    return {name: place.read(name) for name in place.names()}


@pytest.fixture(params=["local", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new folder, of each sort that needs no server."""
    return str(tmp_path / "out") if request.param == "local" else f"memory://{uuid.uuid4().hex}/a"


def test_the_dataset_reads_what_was_written(predictor: Predictor, log: Path, url: str) -> None:
    done = embed(predictor, dataset("click_log", log), StoreFolder(url), rows=3)
    assert (done.shards, done.skipped, done.rows, list(done.broken)) == (3, 0, 6, ["3"])
    found = dataset("activations", url)
    source = dataset("click_log", log)
    rows = [row for row in range(7) if row != 3]
    assert len(found) == 6
    for number, row in enumerate(rows):
        assert found.record(number).id == source.record(row).id
        assert found.record(number).queries == source.record(row).queries
        pixels = predictor.model.vision.preprocess
        assert np.isfinite(found.activation(number)).all()
        assert found.activation(number).shape == (predictor.model.vision.width,)
        assert pixels is not None
    assert found.activations.fingerprint == tower_fingerprint(predictor.model.vision)


def test_a_stop_costs_one_shard_and_changes_no_byte(
    predictor: Predictor, log: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataset("click_log", log)
    whole = StoreFolder(tmp_path / "whole")
    embed(predictor, data, whole, rows=2)
    place, real = StoreFolder(url), StoreFolder.write

    def killed(self: StoreFolder, name: str, data: bytes) -> None:
        if name.startswith("00002"):
            raise KeyboardInterrupt
        real(self, name, data)

    monkeypatch.setattr(StoreFolder, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        embed(predictor, data, place, rows=2)
    assert sorted(place.names()) == ["00000-of-00004.parquet", "00001-of-00004.parquet"]
    with pytest.raises(DataError, match="shard 2 is missing"):
        dataset("activations", url)
    monkeypatch.setattr(StoreFolder, "write", real)
    again = embed(predictor, data, place, rows=2)
    assert (again.skipped, again.shards) == (2, 4)
    assert contents(place) == contents(whole)
    assert embed(predictor, data, place, rows=2).skipped == 4


def test_shards_of_something_else_are_not_mixed_in(
    predictor: Predictor, log: Path, url: str
) -> None:
    data, place = dataset("click_log", log), StoreFolder(url)
    embed(predictor, data, place, rows=4)
    with pytest.raises(DataError, match="another model or of other data"):
        embed(predictor, data, place, rows=4, point="embedding")
    with pytest.raises(DataError, match="another model or of other data"):
        embed(predictor, data, place, rows=3)
    done = embed(predictor, data, place, rows=4, point="embedding", force=True)
    assert done.skipped == 0
    place.write("00001-of-00002.parquet", b"PAR1 torn")
    with pytest.raises(DataError):
        dataset("activations", url)
    assert embed(predictor, data, place, rows=4, point="embedding").skipped == 1
    assert len(dataset("activations", url)) == 6


def test_pictures_without_texts(predictor: Predictor, log: Path, url: str) -> None:
    (log / "images" / "3.jpg").unlink()
    embed(predictor, PictureFolder(log / "images"), StoreFolder(url))
    assert len(dataset("activations", url)) == 6


@pytest.mark.parametrize("url", ["nothing://x/y", "s3:/x"])
def test_places_that_there_are_not(url: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    if "://" in url:
        with pytest.raises(DataError, match="nothing"):
            StoreFolder(url)
    else:
        assert StoreFolder(url).names() == set()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of moto's server on loopback."""
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1", "FSSPEC_S3_ENDPOINT_URL": endpoint,
        "AWS_ENDPOINT_URL": endpoint, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        import s3fs

        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        s3fs.S3FileSystem(endpoint_url=endpoint).mkdir("bucket")
        yield "s3://bucket/vectors"
    finally:
        server.terminate()
        server.wait()


@pytest.mark.slow
def test_an_object_store(predictor: Predictor, log: Path, s3: str, tmp_path: Path) -> None:
    data = dataset("click_log", log)
    embed(predictor, data, StoreFolder(s3), rows=3)
    embed(predictor, data, StoreFolder(tmp_path / "here"), rows=3)
    assert contents(StoreFolder(s3)) == contents(StoreFolder(tmp_path / "here"))
    assert len(dataset("activations", s3)) == 6
    assert embed(predictor, data, StoreFolder(s3), rows=3).skipped == 3
    assert os.environ["AWS_ACCESS_KEY_ID"] == "test"
