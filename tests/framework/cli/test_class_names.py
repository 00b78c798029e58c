"""Class names on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.cli.class_names import parse_classes
from engine.errors import DataError


def test_commas_quotes_and_files(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_bytes("\ufeffлуна\n\n  звезда, большая  \n".encode())
    found = parse_classes(["кошка, собака", '"a, b",c', f"@{file}"])
    assert found == ["кошка", "собака", "a, b", "c", "луна", "звезда, большая"]


@pytest.mark.parametrize(
    ("values", "words"),
    [([""], "list of classes is empty"), (["a,,b"], "name 1 is empty"), (["a", "a"], "twice"),
     (["@none.txt"], "no such file"), (["@."], "cannot be read")],
)  # fmt: skip
def test_mistakes(values: list[str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        parse_classes(values)
