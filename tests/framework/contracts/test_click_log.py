"""Ids of images: what is written is read again as the same id, by whoever writes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from engine.contracts.dataset import Record
from engine.data.click_log import BadLineError, parse_queries, parse_url, written_id
from engine.data.make import write_click_log
from engine.data.text.clean import clean
from engine.data.text.settings import CleanSettings

IDS = [
    "0", "7", str(2**53 + 1), str(2**63 - 1), str(2**63), str(2**63 + 1),
    str(2**64 - 1), str(2**64), "9999999999999999999", "1" + "0" * 19, "1" * 20, "8" * 200,
    "-1", "-9223372036854775809", "-0", "00", "007", "1e5", "1.5", "+5", "0x10", "٣", "²", "1_000",
    "Infinity", "NaN", "true", "null",
]  # fmt: skip
"""Of these ``1.5`` is a plain file name, too."""


@pytest.mark.parametrize("id_", IDS)
def test_what_is_written_is_read(id_: str) -> None:
    line = json.dumps({"image": written_id(id_), "queries": ["a"], "url": "b"}).encode()
    assert parse_queries(line).id == id_
    assert parse_url(line)[0] == id_
    # No reader of 64-bit numbers loses anything either.
    value = json.loads(line)["image"]
    assert isinstance(value, str) or 0 <= value < 1 << 63


@given(st.integers(0, 10**25) | st.integers(2**63 - 3, 2**63 + 3), st.booleans())
def test_numbers_of_any_length(number: int, as_text: bool) -> None:
    row = {"image": str(number) if as_text else number, "queries": ["a"]}
    assert parse_queries(json.dumps(row).encode()).id == str(number)
    assert str(written_id(str(number))) == str(number)


@pytest.mark.parametrize("value", [-1, 1.0, 1e30, True, None, 10**200, [], {}])
def test_what_is_no_id(value: Any) -> None:
    with pytest.raises(BadLineError, match="`image` is neither"):
        parse_queries(json.dumps({"image": value, "queries": ["a"]}).encode())


def test_cleaning_keeps_every_row(tmp_path: Path) -> None:
    source = tmp_path / "metadata.json"
    rows = [{"image": id_, "queries": [f"кот {id_}"]} for id_ in IDS]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    done = clean(source, CleanSettings.model_validate({"steps": ["case"]}, context={}))
    found = [parse_queries(line) for line in done.output.read_bytes().splitlines()]
    assert found == [Record(id_, (f"кот {id_}".lower(),)) for id_ in IDS]


def test_making_a_log_keeps_every_row(tmp_path: Path) -> None:
    class Pictures:
        name, classes = "pictures", ()

        def __len__(self) -> int:
            return len(IDS)

        def record(self, index: int) -> Record:
            return Record(IDS[index], ("кот",))

        def image(self, index: int) -> Image.Image:
            return Image.new("RGB", (4, 4))

    def track(rows: Iterable[int], what: str, count: int) -> Iterator[int]:
        return iter(rows)

    written = write_click_log(Pictures(), tmp_path / "train", track=track)  # type: ignore[arg-type]
    assert written.images == len(IDS)
    lines = (tmp_path / "train" / "metadata.json").read_bytes().splitlines()
    assert [parse_queries(line).id for line in lines] == IDS
