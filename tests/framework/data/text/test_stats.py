"""Statistics: equal to the plainest Python on any small table, whatever the number of workers."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.text import table as table_module
from engine.data.text.minhash import jaccard, shingles
from engine.data.text.stats import Stats, measure
from engine.data.text.words import words_of
from engine.errors import DataError

WORD = st.sampled_from(
    [
        "кот",
        "кота",
        "ёж",
        "е\u0308ж",
        "собака",
        "Собака",
        "a",
        "b",
        "phone",
        "7",
        "под_за_ный",
        "漢字",
        "і",
    ]
)
QUERY = st.one_of(
    st.lists(WORD, min_size=1, max_size=7).map(" ".join), st.text(min_size=1, max_size=12)
).filter(lambda query: query.strip() and not any("\ud800" <= c <= "\udfff" for c in query))
TABLE = st.lists(st.lists(QUERY, min_size=1, max_size=5), min_size=1, max_size=30)


def write(folder: Path, rows: Sequence[Sequence[str]]) -> Path:
    path = folder / "metadata.json"
    lines = [
        json.dumps({"image": i, "queries": row}, ensure_ascii=i % 2 == 0)
        for i, row in enumerate(rows)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def ngrams(words: Sequence[str], size: int) -> list[str]:
    return [" ".join(words[i : i + size]) for i in range(len(words) - size + 1)]


def check(found: Stats, rows: Sequence[Sequence[str]], top: int) -> None:
    queries = [query for row in rows for query in row]
    split = [words_of(query) for query in queries]
    words = Counter(word for text in split for word in text)
    threes = Counter(gram for text in split for gram in ngrams(text, 3))
    texts = Counter(" ".join(text) for text in split if text)
    counts = found.counts
    assert (counts.images, counts.queries, counts.words) == (
        len(rows), len(queries), words.total()
    )  # fmt: skip
    assert found.ngrams == threes.most_common(top)  # of equal ones, the first seen comes first
    assert found.words == words.most_common(200)
    assert found.texts == texts.most_common(100)
    assert found.ngram_total == threes.total()
    assert (found.distinct_ngrams, found.distinct_words) == (len(threes), len(words))
    assert found.distinct_texts == len(texts)
    assert found.distinct_written == len({query.strip() for query in queries})
    assert counts.queries_per_image == Counter(map(len, rows))
    assert counts.words_per_query == Counter(map(len, split))
    assert counts.letters_per_query == Counter(sum(map(len, text)) for text in split)
    flat = [word for text in split for word in text]
    for read, distinct in found.growth:
        assert distinct == len(set(flat[:read]))
    assert not flat or found.growth[-1][0] == len(flat)
    assert Counter(found.samples) == Counter(queries) or len(queries) > 60


@settings(max_examples=150, deadline=None)
@given(TABLE, st.integers(1, 8))
def test_equals_plain_python(rows: list[list[str]], top: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        check(measure(write(Path(name), rows), top=top), rows, top)
        assert [p.name for p in Path(name).iterdir()] == ["metadata.json"]


def many_rows(count: int) -> list[list[str]]:
    words = [f"слово{i * i % 97}" for i in range(97)]
    return [
        [
            " ".join(words[(i * k + j) % 97] for j in range(1 + (i + k) % 6))
            for k in range(1 + i % 4)
        ]
        for i in range(count)
    ]


def test_batches_and_workers_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = many_rows(400)
    whole = measure(write(tmp_path, rows), top=50)
    monkeypatch.setattr(table_module, "BATCH", 2000)
    for workers in (1, 3):
        found = measure(tmp_path, workers=workers, top=50)
        assert found == whole
    check(whole, rows, 50)


def test_near_duplicates_are_near_and_found(tmp_path: Path) -> None:
    things = ["рыжего кота", "старого пса", "новый велосипед", "детскую коляску", "зимние шины"]
    base = [f"купить {thing} недорого с доставкой по городу {town}" for thing in things
            for town in ("москва", "екатеринбург", "владивосток", "ростов на дону")]  # fmt: skip
    queries = base + [f"{text} а" for text in base] + ["нечто совсем иное"]
    sets = [shingles(words_of(query)) for query in queries]
    nearest = [max((jaccard(sets[i], sets[j]) for j in range(i)), default=0.0)
               for i in range(len(sets))]  # fmt: skip
    sure, open_ = sum(s >= 0.93 for s in nearest), sum(0.65 <= s < 0.93 for s in nearest)
    assert sure >= 20
    found = measure(write(tmp_path, [[query] for query in queries]))
    assert sure <= found.near <= sure + open_
    assert found.pairs
    for later, earlier in found.pairs:
        assert later != earlier
        assert jaccard(shingles(later.split()), shingles(earlier.split())) > 0.6


def test_scripts_and_marks(tmp_path: Path) -> None:
    rows = [["кот", "cat", "漢字", "кот cat", "12", "!!!"], ["Київ", "café", "кoт"],
            ["#кот", "http://a.ru/b", "ко\u200bт", "Ёж 5"]]  # fmt: skip
    counts = measure(write(tmp_path, rows)).counts
    assert counts.scripts == {
        "Cyrillic": 5, "Latin": 3, "other": 1, "mixed": 2, "digits": 1, "none": 1
    }  # fmt: skip
    assert counts.marks == {
        "beyond_russian": 1, "accented": 1, "mixed_word": 1, "digit": 2, "link": 1,
        "hash_sign": 1, "invisible": 1, "upper": 2,
    }  # fmt: skip


def test_rows_that_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "metadata.json"
    good = b'{"image": 1, "queries": ["a b"]}\n'
    huge = b'{"image": 2, "queries": ["' + b"x" * (3 << 20) + b'"]}\n'
    long = b'{"image": 3, "queries": ["' + b"y " * 100_000 + b'"]}\n'
    path.write_bytes(b"\xef\xbb\xbf" + good + b"\xff\xfe\n\n" + huge + good + b"{}\n" + long)
    found = measure(path)
    assert found.counts.images == 2
    assert found.counts.words == 100_002
    assert found.table.bad == {
        "not UTF-8": 1, "longer than 1 MiB": 1, "an image that an earlier line has": 1,
        "no `image`": 1,
    }  # fmt: skip
    assert [line for line, _ in found.table.listed] == [2, 4, 5, 6]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "no good line: it is empty"), (b"nonsense\n", "line 1: not JSON"),
     (b'{"image": 1, "queries": [" "]}', "line 1: no query that is not empty")],
)  # fmt: skip
def test_nothing_to_measure(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "metadata.json").write_bytes(content)
    with pytest.raises(DataError, match=message):
        measure(tmp_path)


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no metadata\.json"):
        measure(tmp_path)
    (tmp_path / "train").mkdir()
    write(tmp_path / "train", [["a"]])
    with pytest.raises(DataError, match="train has one"):
        measure(tmp_path)
    with pytest.raises(DataError, match="no such folder or file"):
        measure(tmp_path / "gone")


def test_text_without_words(tmp_path: Path) -> None:
    found = measure(write(tmp_path, [["!!!", "\u202e"]]))
    assert found.counts.words == 0
    assert (found.words, found.ngrams, found.growth, found.near) == ([], [], [], 0)
