"""Reading the table: any bytes at all, one bad line costing that line."""

from __future__ import annotations

import io
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.contracts.dataset import Record
from engine.data.click_log import (
    REASONS,
    REPEATED,
    BadLineError,
    parse_queries,
    read_lines,
)
from engine.data.text import table as table_module
from engine.data.text.table import find_table, open_table
from engine.errors import DataError

LINE = st.one_of(
    st.builds(lambda i, q: b'{"image": %d, "queries": ["%s"]}' % (i, q.encode()),
              st.integers(0, 4), st.sampled_from(["кот", "a b", " ", "\\ud800", "\\u202e"])),
    st.sampled_from([b'{"image": "x", "queries": ["a"]}', b'{"image": "1", "queries": ["b"]}',
                     b"", b"[]", b"{}", b'{"image": -1, "queries": ["a"]}', b"\xff", b"null"]),
    st.binary(max_size=12),
)  # fmt: skip


def plain(content: bytes) -> tuple[list[Record], Counter[str], list[tuple[int, str]]]:
    """The same in the plainest way."""
    records: list[Record] = []
    bad: list[tuple[int, str]] = []
    for number, _, line in read_lines(io.BytesIO(content)):
        try:
            record = parse_queries(line)
        except BadLineError as error:
            bad.append((number, REASONS[error.code]))
            continue
        if record.id in {r.id for r in records}:
            bad.append((number, REASONS[REPEATED]))
        else:
            records.append(record)
    return records, Counter(reason for _, reason in bad), bad


@settings(max_examples=200, deadline=None)
@given(st.lists(LINE, max_size=14), st.integers(1, 200), st.booleans())
def test_as_in_plain_python(lines: list[bytes], batch: int, mark: bool) -> None:
    content = b"\xef\xbb\xbf" * mark + b"\n".join(lines)
    records, bad, listed = plain(content)
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_module, "BATCH", batch)
        path = Path(name) / "metadata.json"
        path.write_bytes(content)
        if not records:
            with pytest.raises(DataError, match="no good line"):
                open_table(path, Path(name))
            return
        found = open_table(path, Path(name))
        assert found.images == len(records)
        assert +found.bad == bad
        assert found.listed == listed
        assert [row for batch in found.batches() for _, row in batch.records()] == records
        assert [p.name for p in Path(name).iterdir()] == ["metadata.json"]


def test_a_table_that_changes_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "metadata.json"
    path.write_bytes(b'{"image": 1, "queries": ["a"]}\n')
    found = open_table(path, tmp_path)
    path.write_bytes(b'{"image": 1, "queries": ["a"]}\n{"image": 2, "queries": ["a"]}\n')
    with pytest.raises(DataError, match="was changed while it was read"):
        list(found.batches())


def test_find_table(tmp_path: Path) -> None:
    path = tmp_path / "metadata.json"
    path.write_bytes(b"x")
    assert find_table(tmp_path) == find_table(path) == path
