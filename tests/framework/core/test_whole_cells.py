"""Tables: whole in a file, and with whole numbers on the narrowest terminal."""

from __future__ import annotations

import io
import re

import pytest
from rich.table import Table

from engine.core import terminal

NAME = "M-CLIP-XLM-Roberta-Large-Vit-B-32-with-a-long-name"
NUMBERS = ["2,588,924,780", "12,345,678,901,234", "123,456,789"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def table(*, no_wrap: bool = False) -> Table:
    made = Table()
    made.add_column("model")
    for name in ("parameters", "bytes", "buffers"):
        made.add_column(name, justify="right", no_wrap=no_wrap)
    made.add_row(NAME, *NUMBERS)
    return made


def printed(stream: io.StringIO, shown: Table, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("sys.stdout", stream)
    terminal.console().print(shown)
    return re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())


def test_nothing_is_cut_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    text = printed(io.StringIO(), table(), monkeypatch)
    assert all(part in text for part in (NAME, *NUMBERS))
    assert max(map(len, text.splitlines())) < 200  # as wide as the table, not as the console


@pytest.mark.parametrize("no_wrap", [True, False])
@pytest.mark.parametrize("columns", [20, 40, 60, 80])
def test_numbers_are_whole_on_any_terminal(
    columns: int, no_wrap: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = printed(Terminal(), table(no_wrap=no_wrap), monkeypatch)
    assert all(number in text for number in NUMBERS)
    assert "…" not in text
    cells = [line.split("│")[1].strip() for line in text.splitlines() if line.startswith("│")]
    assert "".join(cells) == NAME


def test_a_table_that_fits_is_as_wide_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    wide = printed(Terminal(), table(), monkeypatch)
    monkeypatch.delenv("COLUMNS")
    assert printed(io.StringIO(), table(), monkeypatch) == wide
