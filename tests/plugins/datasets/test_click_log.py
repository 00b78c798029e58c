"""The contest's training data, sound and hostile."""

from __future__ import annotations

import json
import logging
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.contracts.dataset import Record
from engine.data.click_log import MAX_LINE
from engine.errors import BrokenImageError, DataError
from engine_plugins.datasets import click_log
from engine_plugins.datasets.click_log import ClickLog
from engine_plugins.datasets.settings import ClickLogSettings

GOOD = b'{"image": 1, "queries": ["\xd0\xba\xd0\xbe\xd1\x82"]}\n'


def log(folder: Path, metadata: bytes) -> ClickLog:
    (folder / "images").mkdir(exist_ok=True)
    (folder / "metadata.json").write_bytes(metadata)
    return ClickLog(ClickLogSettings(path=folder))


def lines(*rows: object) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def test_rows_in_order(tmp_path: Path) -> None:
    data = log(
        tmp_path,
        lines(
            {"image": 7, "queries": ["красный круг", "круг"]},
            {"image": "abc", "queries": [" a "], "more": 1},
        ),
    )
    assert len(data) == 2
    assert data.name == tmp_path.name
    assert data.classes == ()
    assert data.record(0) == Record("7", ("красный круг", "круг"))
    assert data.record(1) == Record("abc", (" a ",))
    assert list(data.texts()) == ["красный круг", "круг", " a "]
    assert len(data.bad_lines) == 0
    for outside in (-1, 2):
        with pytest.raises(IndexError):
            data.record(outside)


def test_images_are_found_by_id(tmp_path: Path) -> None:
    data = log(tmp_path, lines({"image": 7, "queries": ["a"]}, {"image": 8, "queries": ["b"]}))
    Image.new("RGB", (5, 4), "red").save(tmp_path / "images" / "7.jpg")
    assert data.image(0).size == (5, 4)
    with pytest.raises(BrokenImageError, match=r"8\.jpg: no such file"):
        data.image(1)


def test_other_names(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "rows.jsonl").write_bytes(GOOD)
    Image.new("RGB", (3, 3)).save(tmp_path / "pictures" / "1.png")
    data = ClickLog(
        ClickLogSettings(path=tmp_path, metadata="rows.jsonl", images="pictures", suffix=".png")
    )
    assert data.image(0).size == (3, 3)


BAD = [
    (b"{broken", "not JSON"),
    (b"[" * 100_000, "not JSON"),
    (b'{"image": ' + b"9" * 5000 + b', "queries": ["a"]}', "not JSON"),
    (b"\xff\xfe", "not UTF-8"),
    (b"[1, 2]", "not an object"),
    (b"null", "not an object"),
    (b'{"queries": ["a"]}', "no `image`"),
    (b'{"image": 2}', "no `queries`"),
    (b'{"image": true, "queries": ["a"]}', "`image` is neither"),
    (b'{"image": -1, "queries": ["a"]}', "`image` is neither"),
    (b'{"image": 1.5, "queries": ["a"]}', "`image` is neither"),
    (b'{"image": null, "queries": ["a"]}', "`image` is neither"),
    (b'{"image": "", "queries": ["a"]}', "`image` is neither"),
    (b'{"image": "..", "queries": ["a"]}', "`image` is neither"),
    (b'{"image": "../../etc/passwd", "queries": ["a"]}', "`image` is neither"),
    (b'{"image": "/etc/passwd", "queries": ["a"]}', "`image` is neither"),
    (b'{"image": "a\\\\b", "queries": ["a"]}', "`image` is neither"),
    (b'{"image": "a\\u0000", "queries": ["a"]}', "`image` is neither"),
    (b'{"image": "a\\n", "queries": ["a"]}', "`image` is neither"),
    (b'{"image": "\\ud800", "queries": ["a"]}', "`image` is neither"),
    (b'{"image": "' + b"a" * 300 + b'", "queries": ["a"]}', "`image` is neither"),
    (b'{"image": 2, "queries": "a"}', "`queries` is not"),
    (b'{"image": 2, "queries": ["a", 1]}', "`queries` is not"),
    (b'{"image": 2, "queries": ["\\ud800"]}', "`queries` is not"),
    (b'{"image": 2, "queries": []}', "no query"),
    (b'{"image": 2, "queries": ["", "  "]}', "no query"),
    (b'{"image": 1, "queries": ["again"]}', "earlier line"),
    (b'{"image": "1", "queries": ["again"]}', "earlier line"),
    (b'{"image": 2, "queries": ["' + b"a" * MAX_LINE + b'"]}', "longer than"),
]


@pytest.mark.parametrize(("line", "reason"), BAD, ids=range(len(BAD)))
def test_a_bad_line_costs_that_line(tmp_path: Path, line: bytes, reason: str) -> None:
    data = log(tmp_path, GOOD + line + b"\n" + b'{"image": 9, "queries": ["end"]}\n')
    assert [data.record(i).id for i in range(len(data))] == ["1", "9"]
    assert [bad.number for bad in data.bad_lines] == [2]
    assert reason in data.bad_lines[0].reason


def test_bad_lines_are_listed_in_order_and_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        data = log(tmp_path, GOOD + GOOD + b"x\n\n" + GOOD + b"[]")
    assert [bad.number for bad in data.bad_lines] == [2, 3, 5, 6]
    assert [bad.number for bad in data.bad_lines[1:3]] == [3, 5]
    assert "4 of 5 lines left out" in caplog.text


def test_long_lines_of_any_length(tmp_path: Path) -> None:
    """The lines after a long one are found, whatever its length is to the reader's pieces."""
    for length in (MAX_LINE - 1, MAX_LINE, MAX_LINE + 1, MAX_LINE + 2, 2 * MAX_LINE + 1):
        data = log(tmp_path, b"x" * length + b"\n" + GOOD)
        assert data.record(0).id == "1"
        assert [bad.number for bad in data.bad_lines] == [1]
    assert log(tmp_path, GOOD + b"x" * (2 * MAX_LINE)).record(0).id == "1"


def test_windows_files(tmp_path: Path) -> None:
    data = log(tmp_path, b"\xef\xbb\xbf" + GOOD.replace(b"\n", b"\r\n") * 2)
    assert [data.record(i).queries for i in range(len(data))] == [("кот",)]
    assert len(data.bad_lines) == 1


def test_ids_of_one_hash_are_reported_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if every hash collides, only real repetitions are bad."""

    class Same:
        def __init__(self, *_: object, **__: object) -> None: ...

        def digest(self) -> bytes:
            return bytes(8)

    monkeypatch.setattr(click_log.hashlib, "blake2b", Same)
    rows = [{"image": i, "queries": [str(i)]} for i in (3, 1, 2, 1, 3, 4)]
    data = log(tmp_path, lines(*rows))
    assert [data.record(i).id for i in range(len(data))] == ["3", "1", "2", "4"]
    assert [bad.number for bad in data.bad_lines] == [4, 5]


@pytest.mark.parametrize("metadata", [b"", b"\n\n", b"x\ny\n"])
def test_no_good_line(tmp_path: Path, metadata: bytes) -> None:
    with pytest.raises(DataError, match="no good line"):
        log(tmp_path, metadata)


@pytest.mark.parametrize("missing", ["folder", "metadata.json", "images"])
def test_missing(tmp_path: Path, missing: str) -> None:
    folder = tmp_path / "folder"
    if missing != "folder":
        folder.mkdir()
    if missing == "metadata.json":
        (folder / "images").mkdir()
    if missing == "images":
        (folder / "metadata.json").write_bytes(GOOD)
    with pytest.raises(DataError, match=missing):
        ClickLog(ClickLogSettings(path=folder))


def test_a_file_that_changes_in_use(tmp_path: Path) -> None:
    data = log(tmp_path, GOOD)
    (tmp_path / "metadata.json").write_bytes(b"shorter")
    with pytest.raises(DataError, match="changed"):
        data.record(0)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([line for line, _ in BAD[:26]]))))
def test_any_bytes(tmp_path: Path, junk: list[bytes]) -> None:
    data = log(tmp_path, b"\n".join([*junk, b'{"image": "end", "queries": ["q"]}']))
    assert data.record(len(data) - 1) == Record("end", ("q",))
    text_lines = b"\n".join(junk).removeprefix(b"\xef\xbb\xbf").split(b"\n")
    assert len(data) - 1 + len(data.bad_lines) == sum(bool(line.strip()) for line in text_lines)


def test_an_index_of_eight_bytes_a_row(tmp_path: Path) -> None:
    data = log(tmp_path, lines(*({"image": i, "queries": ["q"]} for i in range(20_000))))
    assert len(pickle.dumps(data)) < 20_000 * 8 + 2_000


def read(data: ClickLog, index: int) -> tuple[Record, tuple[int, int]]:
    return data.record(index), data.image(index).size


def test_pickle_and_fork(tmp_path: Path) -> None:
    data = log(tmp_path, GOOD)
    Image.new("RGB", (5, 4)).save(tmp_path / "images" / "1.jpg")
    wanted = (Record("1", ("кот",)), (5, 4))
    assert read(pickle.loads(pickle.dumps(data)), 0) == wanted
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        assert list(pool.map(read, [data] * 4, [0] * 4)) == [wanted] * 4


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_one_file_stays_open_as_long_as_the_data_set(tmp_path: Path) -> None:
    """On a network disk, opening the table for every row would take an hour a pass."""
    before = open_files()
    data = log(tmp_path, GOOD)
    Image.new("RGB", (5, 4)).save(tmp_path / "images" / "1.jpg")
    image = data.image(0)
    list(data.texts())
    assert open_files() == before + 1
    assert image.size == (5, 4)
    del data
    assert open_files() == before
