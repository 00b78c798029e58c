"""Shards: tars as WebDataset has them and parquet, local and in stores; any of them damaged."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from engine.contracts.preprocess import SquarePreprocess
from engine.data.shards import blocks
from engine.data.shards.blocks import Blocks, RecentBlocks
from engine.data.shards.samples import parse_texts
from engine.data.store_folder import StoreFolder
from engine.errors import BrokenImageError, DataError
from engine_plugins.datasets.settings import ShardsSettings
from engine_plugins.datasets.shards import Shards

SIZE = (640, 480)


def jpeg(number: int, size: tuple[int, int] = (24, 18)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (number * 9 % 256, 200 - number * 7 % 200, 40)).save(file, "JPEG")
    return file.getvalue()


def tar_of(members: list[tuple[str, bytes]], **how: Any) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", **how) as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return file.getvalue()


def sample(number: int, *, as_json: bool = False) -> list[tuple[str, bytes]]:
    text = f"кот {number}"
    about = json.dumps({"queries": [text, "cat"]}).encode()
    return [
        (f"a/{number:05d}.jpg", jpeg(number)),
        (f"a/{number:05d}.json", about) if as_json else (f"a/{number:05d}.txt", text.encode()),
        (f"a/{number:05d}.cls", b"3"),
    ]


def write_tars(put: Any, *, as_json: bool = False) -> None:
    for shard in range(3):
        rows = range(5 * shard, 5 * shard + 5)
        put(f"{shard:03d}.tar", tar_of([m for n in rows for m in sample(n, as_json=as_json)]))


def write_tables(put: Any, *, struct: bool) -> None:
    for shard in range(3):
        rows = range(5 * shard, 5 * shard + 5)
        images: list[Any] = [jpeg(n) for n in rows]
        if struct:
            images = [{"bytes": data, "path": "x.jpg"} for data in images]
        texts = [f"кот {n}" for n in rows]
        table = pa.table({"image": images, "caption": texts, "key": [f"{n:05d}" for n in rows]})
        file = io.BytesIO()
        parquet.write_table(table, file, row_group_size=2)
        put(f"{shard:03d}.parquet", file.getvalue())


def local(folder: Path) -> Any:
    folder.mkdir(exist_ok=True)
    return lambda name, data: (folder / name).write_bytes(data)


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Any]:
    """A folder or a store, and what writes a file there."""
    if request.param == "local":
        return str(tmp_path / "data"), local(tmp_path / "data")
    url = f"memory://{request.node.name.replace('[', '-').replace(']', '')}"
    return url, lambda name, data: fsspec.filesystem("memory").pipe_file(f"{url}/{name}", data)


@pytest.mark.parametrize("form", ["txt", "json", "bytes", "struct"])
def test_rows_of_tars_and_tables(place: tuple[str, Any], form: str) -> None:
    url, put = place
    if form in ("txt", "json"):
        write_tars(put, as_json=form == "json")
    else:
        write_tables(put, struct=form == "struct")
    data = Shards(ShardsSettings(path=url, language="ru"))
    assert len(data) == 15
    assert data.shards().tolist() == [0, 5, 10, 15]
    for row in (0, 4, 5, 14):
        record = data.record(row)
        assert record.queries[0] == f"кот {row}"
        assert record.id.endswith(f"{row:05d}")
        assert record.languages == ("ru",) * len(record.queries)
        wanted = Image.open(io.BytesIO(jpeg(row))).convert("RGB")
        assert data.image(row).tobytes() == wanted.tobytes()
    again = Shards.from_index(data.settings, data.index())
    assert [again.record(n) for n in range(15)] == [data.record(n) for n in range(15)]
    if "://" not in url:
        copy = pickle.loads(pickle.dumps(data))
        assert copy.image(7).tobytes() == data.image(7).tobytes()
    with pytest.raises(IndexError):
        data.record(15)


def test_large_jpegs_are_decoded_smaller_for_training_alone(tmp_path: Path) -> None:
    put = local(tmp_path / "data")
    put("0.tar", tar_of([("1.jpg", jpeg(1, SIZE)), ("1.txt", b"x")]))
    sizes = {}
    for draft in (1.0, 2.0, None):
        data = Shards(ShardsSettings(path=tmp_path / "data", draft=draft))
        assert data.image(0).size == SIZE
        sizes[draft] = data.image_for(0, 60).size
    assert sizes == {1.0: (80, 60), 2.0: (80, 60), None: SIZE}


@pytest.mark.parametrize("size", [(640, 480), (481, 643), (1001, 333), (90, 200), (60, 60)])
def test_what_training_reads_is_nearly_what_is_evaluated(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    noise = np.random.default_rng(0).normal(0, 1, (12, 16, 3)).cumsum(0).cumsum(1)
    small = Image.fromarray((128 + 20 * noise / np.abs(noise).max() * 6).clip(0, 255).astype("u1"))
    file = io.BytesIO()
    small.resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=92)
    local(tmp_path / "data")("0.tar", tar_of([("1.jpg", file.getvalue()), ("1.txt", b"x")]))
    data, preprocess = Shards(ShardsSettings(path=tmp_path / "data")), SquarePreprocess(60)
    whole = preprocess.to_array(data.image(0)).astype(int)
    reduced = preprocess.to_array(data.image_for(0, 60)).astype(int)
    assert np.abs(whole - reduced).mean() < 0.6


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_folders_and_links_in_every_format(tmp_path: Path, format: int) -> None:
    put = local(tmp_path / "data")
    folder = "/".join(["часть" if format != tarfile.USTAR_FORMAT else "part"] * 12)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as tar:
        directory = tarfile.TarInfo("a")
        directory.type = tarfile.DIRTYPE
        tar.addfile(directory)
        link = tarfile.TarInfo("a/0.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        for name, body in ((f"{folder}/1.jpg", jpeg(1)), (f"{folder}/1.txt", b"one"),
                           ("README", b"no key"), ("2.txt", b"no picture")):  # fmt: skip
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    put("0.tar", file.getvalue())
    data = Shards(ShardsSettings(path=tmp_path / "data"))
    assert data.record(0).queries == ("one",)
    assert len(data) == 1
    assert data.record(0).id == f"{folder}/1"


def test_keys_that_come_twice_are_made_different(tmp_path: Path) -> None:
    put = local(tmp_path / "data")
    for shard in range(2):
        put(f"{shard}.tar", tar_of([("1.jpg", jpeg(shard)), ("1.txt", b"x"), ("1.jpg", jpeg(9))]))
    data = Shards(ShardsSettings(path=tmp_path / "data"))
    ids = [data.record(n).id for n in range(len(data))]
    assert len(set(ids)) == len(ids) == 4


@pytest.mark.parametrize("cut", [100, 512, 700, 1500])
def test_a_tar_that_is_cut_off_is_refused(tmp_path: Path, cut: int) -> None:
    put = local(tmp_path / "data")
    whole = tar_of([m for n in range(3) for m in sample(n)])
    put("0.tar", whole[: 2048 + cut])
    with pytest.raises(DataError, match="not a whole tar"):
        Shards(ShardsSettings(path=tmp_path / "data"))


def test_what_is_damaged_is_named(tmp_path: Path) -> None:
    put = local(tmp_path / "data")
    put("0.tar", tar_of([("1.jpg", b"no picture"), ("1.txt", b"x"),
                         ("2.jpg", jpeg(2)), ("2.json", b"{")]))  # fmt: skip
    data = Shards(ShardsSettings(path=tmp_path / "data"))
    with pytest.raises(BrokenImageError, match=r"image 1 in .*0\.tar"):
        data.image(0)
    with pytest.raises(DataError, match=r"0\.tar: the texts of `2`"):
        data.record(1)
    (tmp_path / "data" / "0.tar").unlink()
    put("0.parquet", b"PAR1 no table PAR1")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        Shards(ShardsSettings(path=tmp_path / "data"))
    (tmp_path / "data" / "0.parquet").unlink()
    with pytest.raises(DataError, match="there is no shard"):
        Shards(ShardsSettings(path=tmp_path / "data"))
    with pytest.raises(DataError, match="there is no shard"):
        Shards(ShardsSettings(path=tmp_path / "nowhere"))


def test_a_pattern_chooses_shards_and_other_bytes_have_another_name(tmp_path: Path) -> None:
    put = local(tmp_path / "data")
    write_tars(put)
    some = ShardsSettings(path=tmp_path / "data" / "00[01].tar")
    assert len(Shards(some)) == 10
    before = Shards.fingerprint(some)
    assert before == Shards.fingerprint(some)
    put("001.tar", tar_of(sample(77)))
    assert before != Shards.fingerprint(some)


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ('"кот"', ("кот",)),
        ('["кот", " ", "пёс"]', ("кот", "пёс")),
        ('{"caption": "кот", "width": 3}', ("кот",)),
        ('{"queries": ["a"], "caption": "b"}', ("a",)),
        ("{}", ()),
    ],
)
def test_texts_of_json(value: str, texts: tuple[str, ...]) -> None:
    assert parse_texts(value.encode(), "json") == texts


@pytest.mark.parametrize("bad", ["[1]", "{", "3", '"\\ud800"', "[" * 50_000])
def test_json_without_texts_is_a_value_error(bad: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_texts(bad.encode(), "json")


def test_a_store_is_asked_once_for_each_block(monkeypatch: pytest.MonkeyPatch) -> None:
    body = np.random.default_rng(0).bytes(100_000)
    fsspec.filesystem("memory").pipe_file("memory://blocks/x.tar", body)
    asked: list[int] = []
    real = StoreFolder.read_range

    def read_range(self: StoreFolder, name: str, start: int, size: int) -> bytes:
        asked.append(start)
        return real(self, name, start, size)

    monkeypatch.setattr(StoreFolder, "read_range", read_range)
    read = Blocks(StoreFolder("memory://blocks"), block=4096, budget=1 << 20)
    rng = np.random.default_rng(1)
    for start, size in rng.integers(0, 50_000, (300, 2)).tolist():
        assert read.read("x.tar", start, size) == body[start : start + size]
    assert len(asked) == len(set(asked)) <= 25


def test_what_was_used_last_is_kept_within_the_budget() -> None:
    loaded: list[int] = []

    def load(key: int) -> bytes:
        loaded.append(key)
        if key < 0:
            raise DataError("no")
        return bytes(10)

    recent = RecentBlocks(load, len, 25)
    for key in (1, 2, 1, 3, 1, 2):
        recent.get(key)
    assert loaded == [1, 2, 3, 2]
    for _ in range(2):  # a failure is not kept
        with pytest.raises(DataError):
            recent.get(-1)
    assert loaded[-2:] == [-1, -1]
    assert blocks.BLOCK >= 1 << 20
