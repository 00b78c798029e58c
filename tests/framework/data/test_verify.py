"""Each way in which training data can be damaged is found, named, and counted."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.data.download.lists import import_lists
from engine.data.download.outcome import Downloaded, Failed, Refusal
from engine.data.download.report import write_tables
from engine.data.download.settings import DownloadSettings
from engine.data.download.state import NAME, State
from engine.data.download.store import Store
from engine.data.verify import verify
from engine.errors import DataError


def jpeg(seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def made(tmp_path: Path) -> Callable[[str], Path]:
    """A finished download of seven images, the fourth failed; without network or processes."""

    def make(kind: str) -> Path:
        lists = tmp_path / "metadata.json", tmp_path / "images.json"
        ids = range(1, 8)
        lists[0].write_text("".join(f'{{"image": {i}, "queries": ["q{i}", "r"]}}\n' for i in ids))
        lists[1].write_text("".join(f'{{"image": {i}, "url": "http://a/{i}"}}\n' for i in ids))
        settings = DownloadSettings(format=kind, shard_size=3)  # type: ignore[arg-type]
        out = tmp_path / "out"
        out.mkdir()
        import_lists(*lists, out / NAME, settings)
        state = State(out / NAME)
        store = Store(out, state, settings)
        had = []
        for i in ids:
            if i != 4:
                digest = sha256(jpeg(i)).digest()
                found = Downloaded(i, 32, 24, len(jpeg(i)), digest, data=jpeg(i))
                had.append((store.keep(found), str(i)))
        store.record(had, [Failed(4, "a", Refusal("HTTP 404"), 1)])
        for shard in range(state.shards):
            store.seal(shard)
        write_tables(out, state)
        store.close()
        state.close()
        return out

    return make


def test_a_whole_folder(made: Callable[[str], Path]) -> None:
    seen: list[tuple[int, int]] = []
    verdict = verify(made("files"), lambda what, done, total: seen.append((done, total)))
    assert verdict.whole
    assert (verdict.rows, verdict.images) == (6, 6)
    assert seen[-1] == (6, 6)


def test_whole_shards(made: Callable[[str], Path]) -> None:
    verdict = verify(made("webdataset"))
    assert verdict.whole
    assert (verdict.format, verdict.rows, verdict.images) == ("webdataset", 6, 6)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def flip(path: Path, place: int = -300) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0xFF
    path.write_bytes(data)


def drop_row(out: Path) -> None:
    path = out / "metadata.json"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))


def add(path: Path, line: str) -> None:
    path.write_text(path.read_text() + line)


def becomes_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


FILES: list[tuple[str, Callable[[Path], object], dict[str, int]]] = [
    ("missing", lambda o: (o / "images/2.jpg").unlink(), {"row without image": 1}),
    ("empty", lambda o: (o / "images/2.jpg").write_bytes(b""), {"broken image": 1}),
    ("cut", lambda o: cut(o / "images/2.jpg"), {"broken image": 1}),
    ("changed", lambda o: flip(o / "images/3.jpg"), {"broken image": 1}),
    ("swapped", lambda o: (o / "images/2.jpg").write_bytes(jpeg(3)), {"broken image": 1}),
    ("unknown", lambda o: (o / "images/99.jpg").write_bytes(jpeg(1)), {"image without row": 1}),
    ("no row", drop_row, {"image without row": 1, "counts disagree": 1}),
    ("twice", lambda o: add(o / "metadata.json", '{"image": 1, "queries": ["x"]}\n'),
     {"row twice": 1, "counts disagree": 1}),
    ("bad line", lambda o: add(o / "metadata.json", "{oops\n"), {"bad line": 1}),
    ("report", lambda o: (o / "report.json").write_text("{}"), {"counts disagree": 2}),
    ("pipe", lambda o: becomes_pipe(o / "images/2.jpg"), {"broken image": 1}),
    ("giant", lambda o: os.truncate(o / "images/2.jpg", 1 << 40), {"broken image": 1}),
    ("pipe as report", lambda o: becomes_pipe(o / "report.json"), {"report cannot be read": 1}),
    ("report of a list", lambda o: (o / "report.json").write_text("[]"),
     {"report cannot be read": 1}),
    ("no report", lambda o: (o / "report.json").unlink(), {"report cannot be read": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "wanted"), [f[1:] for f in FILES], ids=[f[0] for f in FILES])
def test_damaged_files(
    made: Callable[[str], Path], damage: Callable[[Path], object], wanted: dict[str, int]
) -> None:
    out = made("files")
    damage(out)
    verdict = verify(out)
    assert dict(verdict.counts) == wanted
    assert len(verdict.faults) == sum(wanted.values())
    assert not verdict.whole


def swap_tables(out: Path) -> None:
    a, b = out / "shards/00000.parquet", out / "shards/00001.parquet"
    one, two = a.read_bytes(), b.read_bytes()
    a.write_bytes(two)
    b.write_bytes(one)


SHARDS: list[tuple[str, Callable[[Path], object], set[str]]] = [
    ("changed", lambda o: flip(o / "shards/00000.tar", 800), {"broken image"}),
    ("no tar", lambda o: (o / "shards/00001.tar").unlink(),
     {"shard without tar", "row without image"}),
    ("no table", lambda o: (o / "shards/00001.parquet").unlink(),
     {"tar without table", "row without image"}),
    ("cut tar", lambda o: (o / "shards/00000.tar").write_bytes(
        (o / "shards/00000.tar").read_bytes()[:2000]),
     {"broken tar", "table and tar disagree", "image without its JSON", "broken image"}),
    ("broken table", lambda o: flip(o / "shards/00000.parquet", -2),
     {"broken table", "row without image", "member without row"}),
    ("pipe as tar", lambda o: becomes_pipe(o / "shards/00000.tar"),
     {"shard without tar", "row without image"}),
    ("pipe as table", lambda o: becomes_pipe(o / "shards/00000.parquet"),
     {"broken table", "row without image", "member without row", "tar without table"}),
    ("swapped", swap_tables,
     {"table and tar disagree", "image without its JSON", "broken image", "member without row"}),
    ("no row", drop_row, {"image without row", "counts disagree"}),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "kinds"), [s[1:] for s in SHARDS], ids=[s[0] for s in SHARDS])
def test_damaged_shards(
    made: Callable[[str], Path], damage: Callable[[Path], object], kinds: set[str]
) -> None:
    out = made("webdataset")
    damage(out)
    assert set(verify(out).counts) == kinds


def test_a_folder_that_no_download_made(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    rows = [{"image": i, "queries": ["q"]} for i in range(120)]
    (tmp_path / "metadata.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for i in range(120):
        (tmp_path / "images" / f"{i}.jpg").write_bytes(jpeg(i))
    assert verify(tmp_path).whole
    (tmp_path / "images" / "7.jpg").unlink()
    (tmp_path / "images" / "x.txt").write_text("?")
    assert verify(tmp_path).counts == {"row without image": 1, "image without row": 1}


def test_very_many_faults_are_counted_and_the_first_listed(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    lines = "".join(f'{{"image": {i}, "queries": ["q"]}}\n' for i in range(1500))
    (tmp_path / "metadata.json").write_text(lines)
    verdict = verify(tmp_path)
    assert verdict.counts == {"row without image": 1500}
    assert len(verdict.faults) == 1000


@pytest.mark.parametrize("there", [[], ["metadata.json"], ["images"]])
def test_nothing_to_look_at(tmp_path: Path, there: list[str]) -> None:
    for name in there:
        if name == "images":
            (tmp_path / name).mkdir()
        else:
            (tmp_path / name).write_text("")
    with pytest.raises(DataError, match="holds n"):
        verify(tmp_path)
