"""JSON and names of others: strict, within bounds, in one line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.foreign import clean_name, read_json
from engine.core.strict_json import parse_json
from engine.errors import DataError


def parse(data: bytes) -> Any:
    return parse_json(data, longest_number=18, clean=clean_name)


BAD = {
    "NaN": b'{"a": NaN}', "Infinity": b"[Infinity]", "minus Infinity": b"[-Infinity]",
    "a float that is infinite": b"[1e999]", "and one below": b"[-1e999]",
    "thirty digits": b"[123456789012345678901234567890]", "2^63": b"[9223372036854775808]",
    "below -2^63": b"[-9223372036854775809]", "five thousand digits": b"[" + b"9" * 5000 + b"]",
    "a key twice": b'{"a": 1, "a": 1}', "deep down": b'[{"x": {"a": 1, "b": 2, "a": 3}}]',
    "twice by escapes": b'{"a": 1, "\\u0061": 2}',
    "twice when cleaned": b'{"\\ud800": 1, "\\\\ud800": 2}',
    "nested lists": b"[" * 100_000, "nested objects": b'{"a":' * 100_000,
    "closed nested lists": b"[" * 100_000 + b"]" * 100_000,
    "nothing": b"", "white space": b" \n", "half": b'{"a": ', "two values": b"{} {}",
    "a comment": b"{} // x", "a comma too many": b"[1,]", "single quotes": b"{'a': 1}",
    "a bare word": b"{a: 1}", "hexadecimal": b"[0x10]", "a leading zero": b"[01]",
    "UTF-16": '{"a": 1}'.encode("utf-16"), "latin-1": b'{"caf\xe9": 1}',
    "surrogates in UTF-8": b'["\xed\xa0\x80"]', "overlong": b'["\xc0\x80"]', "a null": b"\0",
    "a raw control character": b'["\x1b"]', "a picture": b"\x89PNG\r\n\x1a\n" * 10,
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.json").write_bytes(BAD[name])
    with pytest.raises(DataError) as caught:
        read_json(tmp_path / "x.json", hint="a hint")
    assert str(tmp_path / "x.json") in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 400
    assert caught.value.hint == "a hint"


def test_what_is_read() -> None:
    read = lambda text: parse(text.encode())  # noqa: E731
    assert read('\ufeff{"кошка": [1, -2.5, true, null, "\\ud83d\\ude42"]}') == {
        "кошка": [1, -2.5, True, None, "🙂"]
    }
    assert read("[999999999999999999, -999999999999999999, 1e300]") == [
        10**18 - 1, 1 - 10**18, 1e300
    ]  # fmt: skip
    assert read('{"caf\\udce9": 1}') == {"caf\\udce9": 1}
    assert read("[" * 100 + "]" * 100)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**18) + 1, 10**18 - 1) | st.text()
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)  # fmt: skip
def test_all_other_json_is_read_as_python_does(value: Any) -> None:
    assert parse(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    try:
        parse(data)
    except ValueError as error:
        message = str(error)
    else:
        message = ""
    assert "\n" not in message


@pytest.mark.parametrize("what", ["nothing", "folder", "fifo", "device", "too large"])
def test_files_that_are_not_read(tmp_path: Path, what: str) -> None:
    path, words = tmp_path / "x.json", "is not a file"
    if what == "nothing":
        words = "no such file"
    elif what == "folder":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "device":
        path = Path("/dev/zero")
    else:
        path.write_bytes(b"[" + b" " * 1000 + b"]")
        words = "1,002 bytes, and 1,001 are allowed"
    with pytest.raises(DataError, match=words):
        read_json(path, most_bytes=1001)
    (tmp_path / "y.json").write_bytes(b"[" + b" " * 999 + b"]")
    assert read_json(tmp_path / "y.json", most_bytes=1001) == []


@given(st.text(st.characters(exclude_categories=())))
def test_clean_names(text: str) -> None:
    found = clean_name(text)
    found.encode()
    assert clean_name(found) == found
    if not any("\ud800" <= c <= "\udfff" for c in text):
        assert found is text


def test_file_names_stay_different() -> None:
    names = [os.fsdecode(bytes([99, byte])) for byte in range(1, 256)]
    assert len({clean_name(name) for name in names}) == 255
