"""Images in tar shards: found by id whatever the order of the rows, damaged ones named."""

from __future__ import annotations

import io
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from engine.errors import BrokenImageError, DataError
from engine_plugins.datasets import click_log_shards
from engine_plugins.datasets.click_log import ClickLog
from engine_plugins.datasets.settings import ClickLogSettings

IDS = ["3", "1", "abc", "кот", "7", "2"]


def colour(id_: str) -> tuple[int, int, int]:
    return (IDS.index(id_) * 40, 100, 200 - IDS.index(id_) * 30)


def packed(folder: Path, rows: list[str]) -> ClickLog:
    """Six images in two shards, and rows in an order of their own."""
    (folder / "shards").mkdir(exist_ok=True)
    for number, ids in enumerate((IDS[:4], IDS[4:])):
        data, offsets, sizes = b"", [], []
        for id_ in ids:
            buffer = io.BytesIO()
            Image.new("RGB", (16, 12), colour(id_)).save(buffer, "JPEG", quality=95)
            data += bytes(512)
            offsets.append(len(data))
            sizes.append(len(buffer.getvalue()))
            data += buffer.getvalue()
        (folder / "shards" / f"0000{number}.tar").write_bytes(data)
        table = pa.table({"id": ids, "offset": offsets, "bytes": sizes})
        parquet.write_table(table, folder / "shards" / f"0000{number}.parquet")
    lines = [json.dumps({"image": id_, "queries": [f"q {id_}"]}) + "\n" for id_ in rows]
    (folder / "metadata.json").write_text("".join(lines))
    return ClickLog(ClickLogSettings(path=folder))


def test_rows_in_another_order_and_fewer(tmp_path: Path) -> None:
    data = packed(tmp_path, ["2", "abc", "кот", "3"])
    for index, id_ in enumerate(["2", "abc", "кот", "3"]):
        assert data.record(index).id == id_
        image = data.image(index)
        assert image.mode == "RGB"
        assert np.abs(np.subtract(image.getpixel((5, 5)), colour(id_))).max() < 6


def test_the_same_through_pickle(tmp_path: Path) -> None:
    data = packed(tmp_path, IDS)
    again = pickle.loads(pickle.dumps(data))
    assert all(again.image(i).tobytes() == data.image(i).tobytes() for i in range(6))


def test_a_row_that_no_shard_has(tmp_path: Path) -> None:
    data = packed(tmp_path, ["1", "99"])
    with pytest.raises(BrokenImageError, match=r"image 99 is in no shard"):
        data.image(1)
    assert data.image(0).size == (16, 12)


def test_damage_is_reported_with_the_tar(tmp_path: Path) -> None:
    data = packed(tmp_path, IDS)
    (tmp_path / "shards" / "00000.tar").write_bytes(bytes(5000))
    with pytest.raises(BrokenImageError, match=r"image 1 in .*00000\.tar"):
        data.image(1)
    (tmp_path / "shards" / "00001.tar").unlink()
    with pytest.raises(BrokenImageError, match=r"00001\.tar cannot be read"):
        data.image(4)


def test_ids_of_one_half_hash_are_reported_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = click_log_shards.digests

    def alike(ids: object) -> object:
        found = real(ids).copy()  # type: ignore[arg-type]
        found[:, 0] = 5
        return found

    monkeypatch.setattr(click_log_shards, "digests", alike)
    data = packed(tmp_path, [*IDS, "99"])
    for index, id_ in enumerate(IDS):
        assert np.abs(np.subtract(data.image(index).getpixel((5, 5)), colour(id_))).max() < 6
    with pytest.raises(BrokenImageError, match="in no shard"):
        data.image(6)


def test_tables_that_are_none(tmp_path: Path) -> None:
    packed(tmp_path, IDS)
    (tmp_path / "shards" / "00001.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(DataError, match=r"00001\.parquet cannot be read"):
        ClickLog(ClickLogSettings(path=tmp_path))
    parquet.write_table(pa.table({"id": ["1"]}), tmp_path / "shards" / "00001.parquet")
    with pytest.raises(DataError, match=r"00001\.parquet cannot be read"):
        ClickLog(ClickLogSettings(path=tmp_path))
    for path in (tmp_path / "shards").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="holds no shard"):
        ClickLog(ClickLogSettings(path=tmp_path))


def test_a_folder_of_images_goes_first(tmp_path: Path) -> None:
    packed(tmp_path, IDS)
    (tmp_path / "images").mkdir()
    Image.new("RGB", (5, 5)).save(tmp_path / "images" / "3.jpg")
    assert ClickLog(ClickLogSettings(path=tmp_path)).image(0).size == (5, 5)


def test_an_image_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """In one shard, or in two: which picture is meant is not known."""
    packed(tmp_path, IDS)
    shards = tmp_path / "shards"
    table = parquet.read_table(shards / "00001.parquet")
    parquet.write_table(pa.concat_tables([table, table]), shards / "00001.parquet")
    with pytest.raises(DataError, match=r"twice in 00001\.tar \(2 such images\)"):
        ClickLog(ClickLogSettings(path=tmp_path))
    parquet.write_table(parquet.read_table(shards / "00000.parquet"), shards / "00001.parquet")
    with pytest.raises(DataError, match=r"in 00000\.tar and in 00001\.tar \(4 such images\)"):
        ClickLog(ClickLogSettings(path=tmp_path))


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    data = packed(tmp_path, IDS)
    (tmp_path / "shards" / "00000.tar").unlink()
    os.mkfifo(tmp_path / "shards" / "00000.tar")
    with pytest.raises(BrokenImageError, match="not a file"):
        data.image(0)
    os.mkfifo(tmp_path / "shards" / "00002.parquet")
    with pytest.raises(DataError, match=r"00002\.parquet cannot be read .*: is not a file"):
        ClickLog(ClickLogSettings(path=tmp_path))


def test_a_picture_beyond_the_end_of_its_tar(tmp_path: Path) -> None:
    data = packed(tmp_path, IDS)
    os.truncate(tmp_path / "shards" / "00000.tar", 1000)
    with pytest.raises(BrokenImageError, match="the tar ends before it does"):
        data.image(1)
