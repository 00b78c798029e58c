"""Lines, images and whole data sets to clusters: batches change nothing."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.clusters import Clusters, label_dataset
from engine.clusters.assign import MAX_LINE, assign_rows, read_lines
from engine.contracts import Dataset, Record

TEXTS = st.sampled_from(["лиса", "пирог", "flag", "flag с лисой", "щщщ", "", "лиса и пирог"])


class Chunks(io.BytesIO):
    """A pipe: gives what happens to be there."""

    def __init__(self, data: bytes, sizes: Sequence[int]) -> None:
        super().__init__(data)
        self.sizes = list(sizes)

    def read1(self, size: int | None = -1, /) -> bytes:
        return super().read1(self.sizes.pop() if self.sizes else 7)


@given(st.lists(st.text(st.characters(exclude_characters="\n\r", codec="utf-8"), max_size=20)),
       st.lists(st.integers(1, 9)), st.integers(1, 4))  # fmt: skip
def test_lines_of_a_pipe(lines: list[str], sizes: list[int], batch: int) -> None:
    data = "\n".join(lines).encode()
    batches = list(read_lines(Chunks(data, sizes), batch))
    assert all(1 <= len(some) <= batch for some in batches)
    expected = data.decode().split("\n")
    assert [line for some in batches for line in some] == (
        expected[:-1] if expected[-1] == "" else expected
    )


@pytest.mark.parametrize("tail", [b"", b"\n", b"\nnext", b"\nnext\n"])
def test_a_line_too_long_is_cut_and_costs_nothing_else(tail: bytes) -> None:
    data = b"first\r\n" + b"x" * (5 * MAX_LINE) + tail
    lines = [line for some in read_lines(io.BytesIO(data)) for line in some]
    assert lines[:2] == ["first", "x" * MAX_LINE]
    assert lines[2:] == (["next"] if b"next" in tail else [])


def test_bytes_that_are_no_text() -> None:
    assert list(read_lines(io.BytesIO(b"ok\n\xff\xfe\n"))) == [["ok", "\ufffd\ufffd"]]


def plainly(clusters: Clusters, texts: Sequence[str]) -> int:
    """The cluster of the mean of the vectors, by the definition."""
    if not texts:
        return -1
    mean = np.mean([clusters.embed([text])[0] for text in texts], axis=0)
    length = float(np.linalg.norm(mean))
    if length < 1e-6:
        return -1
    return int(clusters.predict((mean / length)[None].astype(np.float32))[0])


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.lists(TEXTS, max_size=4), max_size=8), batch=st.integers(1, 9))
def test_an_image_takes_the_mean_of_its_queries(
    clusters: Clusters, rows: list[list[str]], batch: int
) -> None:
    found = list(assign_rows(clusters, rows, batch))
    assert [label for label, _ in found] == [plainly(clusters, row) for row in rows]
    for row, (_, of_text) in zip(rows, found, strict=True):
        assert of_text.tolist() == clusters.assign(row).tolist()


def test_only_a_batch_is_read_ahead(clusters: Clusters) -> None:
    read = 0

    def rows() -> Any:
        nonlocal read
        for _ in range(1_000_000):
            read += 1
            yield ("лиса", "flag")

    found = assign_rows(clusters, rows(), batch=10)
    for _ in range(12):
        next(found)
    assert read <= 15


class Log(Dataset):
    """Rows with queries, with a class only, and with nothing."""

    name, classes = "log", ("пирог", "лиса")
    rows = (
        Record("a", ("лиса", "рыжая лиса")), Record("b", (), 0), Record("c"), Record("d", ("щщщ",)),
        Record("e", ("flag", "flags", "flag of spain", "пирог")),
    )  # fmt: skip

    def __len__(self) -> int:
        return len(self.rows)

    def record(self, index: int) -> Record:
        return self.rows[index]

    def image(self, index: int) -> Any:
        raise AssertionError("assignment reads no image")


def test_a_data_set(clusters: Clusters) -> None:
    log = Log()
    found = label_dataset(clusters, log)
    fox, pie, flag = clusters.assign(["лиса", "пирог", "flag"]).tolist()
    assert found.rows.tolist() == [fox, pie, -1, -1, flag]
    assert found.texts.tolist() == clusters.assign(list(log.texts())).tolist()
    assert found.rows.dtype == found.texts.dtype == np.int64
    assert found.count == 3


def test_each_different_text_of_a_batch_is_embedded_once(
    clusters: Clusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded: list[str] = []
    real: Callable[..., Any] = clusters.embedder.embed

    def count(texts: Sequence[str]) -> Any:
        embedded.extend(texts)
        return real(texts)

    monkeypatch.setattr(clusters.embedder, "embed", count)
    clusters.assign(["лиса"] * 50)
    list(assign_rows(clusters, [["лиса", "flag"]] * 50))
    assert embedded == ["лиса", "лиса", "flag"]
