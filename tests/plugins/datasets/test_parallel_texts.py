"""Parallel texts of every format; what is bad is counted and reported, or refused."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from pydantic import ValidationError

from engine.errors import DataError
from engine_plugins.datasets.parallel_texts import ParallelTexts
from engine_plugins.datasets.settings import ParallelTextsSettings

PAIRS = [("кошка", "cat"), ("чашка кофе", "cup of coffee"), ("ракета", "rocket")]


def write(folder: Path, kind: str, pairs: list[tuple[str, str]] = PAIRS) -> Path:
    """The pairs in a format."""
    path = folder / f"pairs.{kind}"
    if kind == "tsv":
        path.write_text("".join(f"{a}\t{b}\n" for a, b in pairs), encoding="utf-8")
    elif kind == "jsonl":
        rows = ({"translation": {"ru": a, "en": b}} for a, b in pairs)
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    elif kind == "parquet":
        table = pyarrow.table({"ru": [a for a, _ in pairs], "en": [b for _, b in pairs]})
        parquet.write_table(table, path)
    else:
        path = folder / "corpus"
        for number, language in enumerate(("ru", "en")):
            lines = "".join(f"{pair[number]}\n" for pair in pairs)
            path.with_name(f"corpus.{language}").write_text(lines, encoding="utf-8")
    return path


def read(path: Path, **settings: Any) -> ParallelTexts:
    return ParallelTexts(ParallelTextsSettings(path=path, **settings))


def rows(dataset: ParallelTexts) -> list[tuple[str, ...]]:
    return [dataset.record(i).queries for i in range(len(dataset))]


@pytest.mark.parametrize("kind", ["tsv", "jsonl", "parquet", "moses"])
def test_every_format_gives_the_same(tmp_path: Path, kind: str) -> None:
    dataset = read(write(tmp_path, kind))
    assert rows(dataset) == PAIRS
    assert dataset.record(1).languages == ("ru", "en")
    assert dataset.record(1).texts_in("en") == (("cup of coffee", 1.0),)
    assert len(read(write(tmp_path, kind), count=2)) == 2


def test_columns_by_number_and_more_languages(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_text("1\tcat\tкошка\tKatze\n", encoding="utf-8")
    dataset = read(tmp_path / "x.tsv", languages=("de", "ru"), columns=("3", "2"))
    assert rows(dataset) == [("Katze", "кошка")]


def test_what_is_bad_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = ["кошка\tcat", "кошка\tpuss", "\tdog", "пёс\t ", "one column", f"{'а' * 200}\tlong"]
    lines = ["кошка\tcat", *bad, "рыба\tfish", "дом\thouse", "лес\tforest", "сад\tgarden"]
    path = tmp_path / "x.tsv"
    path.write_text("\n".join(lines), encoding="utf-8")
    dataset = read(path, max_bytes=100)
    counts = dataset.counts
    found = (counts.repeated, counts.empty, counts.malformed, counts.long, counts.ambiguous)
    assert found == (1, 2, 1, 1, 1)
    assert len(dataset) == 6
    assert ("кошка", "puss") in rows(dataset)  # other targets of one text: kept, and said
    said = " ".join(capsys.readouterr().err.split())
    assert "2 rows with an empty text left out" in said
    assert "1 texts have different translations" in said


@pytest.mark.parametrize("kind", ["tsv", "jsonl", "parquet", "moses"])
def test_every_format_counts_empty_sides_and_other_targets(tmp_path: Path, kind: str) -> None:
    pairs = [*PAIRS, ("", "dog"), ("пёс", " "), (PAIRS[0][0], "another"), PAIRS[0]]
    dataset = read(write(tmp_path, kind, pairs))
    assert rows(dataset) == [*PAIRS, (PAIRS[0][0], "another")]
    counts = dataset.counts
    assert (counts.empty, counts.ambiguous, counts.repeated) == (2, 1, 1)


@pytest.mark.parametrize("kind", ["tsv", "jsonl", "parquet", "moses"])
def test_a_line_of_a_mebibyte_is_passed_over(tmp_path: Path, kind: str) -> None:
    long = "б" * (1 << 19)
    dataset = read(write(tmp_path, kind, [PAIRS[0], (long, "long"), ("long", long), *PAIRS[1:]]))
    assert rows(dataset) == PAIRS
    assert dataset.counts.long == 2


def test_overlong_lines_keep_a_moses_corpus_aligned(tmp_path: Path) -> None:
    pairs = [("а" * 9000, "long"), *PAIRS, ("дом", "b" * 9000)]
    assert rows(read(write(tmp_path, "moses", pairs))) == PAIRS


def unaligned(folder: Path, short: str = "en") -> Path:
    path = write(folder, "moses")
    path.with_name(f"corpus.{short}").write_text("cat\n")
    return path


def encoded(folder: Path, encoding: str = "cp1251") -> Path:
    path = folder / "x.tsv"
    path.write_bytes("кошка\tcat\n".encode(encoding))
    return path


def empty(folder: Path) -> Path:
    path = folder / "x.tsv"
    path.write_text("")
    return path


def mostly_bad(folder: Path) -> Path:
    path = folder / "x.tsv"
    path.write_text("кошка\tcat\n" + "no column\n" * 5, encoding="utf-8")
    return path


def no_column(folder: Path) -> Path:
    path = folder / "x.parquet"
    parquet.write_table(pyarrow.table({"ru": ["кошка"], "de": ["Katze"]}), path)
    return path


def not_parquet(folder: Path) -> Path:
    path = folder / "x.parquet"
    path.write_text("кошка")
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (unaligned, r"corpus\.en has fewer lines than .*corpus\.ru"),
        (partial(unaligned, short="ru"), r"corpus\.ru has fewer lines than .*corpus\.en"),
        (encoded, "line 1: not UTF-8"),
        (partial(encoded, encoding="koi8-r"), "line 1: not UTF-8"),
        (partial(encoded, encoding="utf-16"), "line 1: not UTF-8"),
        (empty, "0 of 0 rows"),
        (mostly_bad, "1 of 6 rows can be used"),
        (no_column, "no column `en` .it has ru, de"),
        (not_parquet, "cannot be read as parquet"),
        (lambda folder: folder / "no.tsv", "cannot be read"),
    ],
)
def test_what_is_refused(tmp_path: Path, make: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read(make(tmp_path))


@pytest.mark.parametrize(
    "settings", [{"columns": ("a",)}, {"columns": ("a", "b")}, {"languages": ()}]
)
def test_bad_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ParallelTextsSettings(path=Path("x.tsv"), **settings)


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("any") / "x.jsonl"
    path.write_bytes(b"\n".join(lines))
    try:
        dataset = read(path)
    except DataError:
        return
    assert all(all(row) for row in rows(dataset))
