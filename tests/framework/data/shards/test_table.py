"""Tables of shards: read as they were written, and refused in one line where they are hostile."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from engine.data.shards import read_table
from engine.errors import DataError

IDS = ["1", "2", "кот", "four"]
COLUMNS: dict[str, Any] = {
    "id": pa.array(IDS),
    "url": pa.array(["http://a"] * 4),
    "bytes": pa.array([10, 20, 30, 40], pa.int64()),
    "sha256": pa.array([f"{n:064x}" for n in range(4)]),
    "offset": pa.array([512, 1536, 2560, 3584], pa.int64()),
}


def written(path: Path, changes: dict[str, Any] | None = None, **options: Any) -> Path:
    columns = {**COLUMNS, **(changes or {})}
    table = pa.table({name: value for name, value in columns.items() if value is not None})
    parquet.write_table(table, path, **{"compression": "zstd", **options})
    return path


def rows_of(path: Path) -> list[tuple[str, int, int, bytes]]:
    found = []
    for rows in read_table(path, digests=True):
        assert rows.offsets.dtype == rows.sizes.dtype == np.int64
        found += zip(
            rows.ids, rows.offsets.tolist(), rows.sizes.tolist(), rows.digests, strict=True
        )
    return found


EXPECTED = [
    (name, 512 + 1024 * n, 10 * (n + 1), bytes(31) + bytes([n])) for n, name in enumerate(IDS)
]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"row_group_size": 1},
        {"use_dictionary": False},
        {"compression": "none"},
        {"compression": "snappy", "data_page_size": 1},
        {"compression": "gzip", "data_page_version": "2.0"},
        {"write_page_checksum": True, "write_page_index": True},
        {"version": "1.0"},
        {"use_dictionary": False, "column_encoding": {"offset": "DELTA_BINARY_PACKED"}},
    ],
)
def test_as_it_was_written(tmp_path: Path, options: dict[str, Any]) -> None:
    assert rows_of(written(tmp_path / "0.parquet", **options)) == EXPECTED
    assert next(r.digests for r in read_table(tmp_path / "0.parquet", digests=False)) == []


def test_other_kinds_of_numbers_and_texts(tmp_path: Path) -> None:
    kinds = {
        "id": COLUMNS["id"].cast(pa.large_string()),
        "bytes": COLUMNS["bytes"].cast(pa.uint32()),
        "offset": COLUMNS["offset"].cast(pa.int16()),
        "sha256": COLUMNS["sha256"].dictionary_encode(),
    }
    assert rows_of(written(tmp_path / "0.parquet", kinds)) == EXPECTED
    none = {name: value[:0] for name, value in COLUMNS.items()}
    assert rows_of(written(tmp_path / "1.parquet", none)) == []


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        for _ in read_table(path, digests=True):
            pass
    message = caught.value.message
    assert message.startswith(f"{path} cannot be read as a shard's table: ")
    assert "\n" not in message
    assert len(message) < 500 + len(str(path))
    return message


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no id": ({"id": None}, "0 columns `id`"),
    "no digest": ({"sha256": None}, "0 columns `sha256`"),
    "ids as numbers": ({"id": pa.array([1, 2, 3, 4])}, "`id`"),
    "ids as bytes": ({"id": pa.array([b"1", b"2", b"3", b"4"])}, "`id`"),
    "ids in lists": ({"id": pa.array([["1"], ["2"], ["3"], ["4"]])}, "`id`"),
    "ids in structs": ({"id": pa.array([{"id": "1"}] * 4)}, "`id`"),
    "maps": ({"id": pa.array([[("a", "b")]] * 4, pa.map_(pa.string(), pa.string()))}, "`id`"),
    "an id that is missing": ({"id": pa.array(["1", None, "3", "4"])}, "without a value"),
    "an empty id": ({"id": pa.array(["1", "", "3", "4"])}, "row 1 has an empty id"),
    "a long id": ({"id": pa.array(["1", "x" * 2000, "3", "4"])}, "2,000 bytes"),
    "offsets as floats": ({"offset": pa.array([1.0, float("nan"), 2.0, 3.0])}, "`offset`"),
    "offsets as texts": ({"offset": pa.array(["1", "2", "3", "4"])}, "`offset`"),
    "truth values": ({"offset": pa.array([True] * 4)}, "`offset`"),
    "an offset that is missing": ({"offset": pa.array([1, None, 3, 4])}, "without a value"),
    "a negative offset": ({"offset": pa.array([1, 2, -3, 4])}, "row 2 has `offset` -3"),
    "a giant offset": ({"offset": pa.array([1, 2, 3, 2**63 - 1])}, "row 3 has `offset`"),
    "an offset beyond 63 bits": (
        {"offset": pa.array([1, 2, 3, 2**64 - 1], pa.uint64())}, "cannot be read"),
    "a negative size": ({"bytes": pa.array([1, 2, 3, -1])}, "row 3 has `bytes` -1"),
    "a size of gigabytes": ({"bytes": pa.array([1, 2**33, 3, 4])}, "row 1 has `bytes`"),
    "a digest of other letters": ({"sha256": pa.array(["z" * 64] * 4)}, "row 0 has no SHA-256"),
    "a short digest": ({"sha256": pa.array(["00" * 32, "00", "", ""])}, "row 1 has no SHA-256"),
    "decimals": ({"bytes": pa.array([1, 2, 3, 4]).cast(pa.decimal128(20))}, "`bytes`"),
    "dates": ({"bytes": pa.array([1, 2, 3, 4], pa.timestamp("ns"))}, "`bytes`"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_columns_are_refused(name: str, tmp_path: Path) -> None:
    changes, words = WRONG[name]
    assert words in refused(written(tmp_path / "0.parquet", changes))


def test_columns_of_one_name(tmp_path: Path) -> None:
    names = [*COLUMNS, "id"]
    table = pa.Table.from_arrays([*COLUMNS.values(), COLUMNS["id"]], names)
    parquet.write_table(table, tmp_path / "0.parquet")
    refused(tmp_path / "0.parquet")


def test_encodings_that_multiply_are_refused(tmp_path: Path) -> None:
    for encoding in ("DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"):
        path = written(
            tmp_path / "0.parquet", use_dictionary=False, column_encoding={"id": encoding}
        )
        assert "encoding" in refused(path)


def test_too_many_rows(tmp_path: Path) -> None:
    count = 5_000_001
    zeros = pa.array(np.zeros(count, np.int64))
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array(["x"]))
    path = written(
        tmp_path / "0.parquet",
        {"id": texts, "url": None, "sha256": texts, "bytes": zeros, "offset": zeros},
    )
    assert "5,000,001 rows" in refused(path)


BOMBS: dict[str, Callable[[Path], object]] = {
    "a text of 400 MB": lambda path: written(
        path, {name: pa.array(["x" * 400_000_000]) if name == "id" else value[:1]
               for name, value in COLUMNS.items()}, use_dictionary=False),
    "one long text for many rows": lambda path: written(
        path, {"id": pa.DictionaryArray.from_arrays(
                   pa.array(np.zeros(300_000, np.int32)), pa.array(["x" * 30_000])),
               "url": None,
               **{name: pa.array(np.ones(300_000, np.int64)) for name in ("bytes", "offset")},
               "sha256": pa.DictionaryArray.from_arrays(
                   pa.array(np.zeros(300_000, np.int32)), pa.array(["0" * 64]))}),
    "a column beside of 400 MB": lambda path: written(
        path, {"id": pa.array([*IDS[:3], "y" * 2000]),
               "url": pa.array(["x" * 100_000_000] * 4)}, use_dictionary=False),
}  # fmt: skip

_CHILD = """
import resource, sys
from pathlib import Path
import pyarrow, pyarrow.parquet, pyarrow.compute
from engine.errors import DataError
from engine.data.shards import read_table
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    for rows in read_table(Path(sys.argv[1]), digests=True):
        pass
    print("read")
except DataError as error:
    print(error.message)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@pytest.mark.parametrize("name", BOMBS)
def test_small_files_that_become_large(name: str, tmp_path: Path) -> None:
    path = tmp_path / "0.parquet"
    BOMBS[name](path)
    assert path.stat().st_size < 1 << 20
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, path], capture_output=True, text=True, timeout=60, check=True
    )
    message, mebibytes = done.stdout.splitlines()
    assert "cannot be read as a shard's table" in message
    assert int(mebibytes) < 100


def test_footers_of_hostile_numbers(tmp_path: Path) -> None:
    data = written(tmp_path / "0.parquet").read_bytes()
    for length in (0, 1, 2**31, 2**32 - 1, len(data)):
        path = tmp_path / "1.parquet"
        path.write_bytes(data[:-8] + struct.pack("<I", length) + b"PAR1")
        refused(path)
    for cut in (0, 1, 4, 8, 11, 12, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:cut])
        refused(path)
    path.write_bytes(data[:-4] + b"PARE")
    assert "not a parquet file" in refused(path)


def test_what_is_not_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.parquet"
    os.mkfifo(pipe)
    assert "not a file" in refused(pipe)
    (tmp_path / "folder.parquet").mkdir()
    assert "not a file" in refused(tmp_path / "folder.parquet")
    assert "No such file" in refused(tmp_path / "none.parquet")
    (tmp_path / "loop.parquet").symlink_to(tmp_path / "loop.parquet")
    refused(tmp_path / "loop.parquet")
    sparse = written(tmp_path / "sparse.parquet")
    os.truncate(sparse, 1 << 40)
    assert "too many" in refused(sparse)
    assert "not a file" in refused(Path("/dev/zero"))
