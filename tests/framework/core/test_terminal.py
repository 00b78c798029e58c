"""What reaches a terminal: nothing that steers it, in any encoding, whoever reads."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from engine import printable
from engine.core import terminal
from engine.errors import EngineError

STEERING = [
    "\x00", "\x07", "\x08", "\x0b", "\x1b", "\r", "\x7f", "\x85", "\x9b", "\x9d", "\u061c",
    "\u200e", "\u2028", "\u202a", "\u202e", "\u2066", "\u2069", "\ud800", "\udcff",
]  # fmt: skip
HARMLESS = "кошка 🏴󠁧󠁢󠁥󠁮󠁧󠁿 👩‍🔬 e\u0301 می‌خواهم \\ ~ \n\t"


@pytest.mark.parametrize("character", STEERING, ids=ascii)
def test_what_steers_becomes_an_escape(character: str) -> None:
    shown = printable.visible(f"a{character}b")
    code = ord(character)
    assert shown == (f"a\\x{code:02x}b" if code < 256 else f"a\\u{code:04x}b")
    assert character not in printable.one_line(f"a{character}b")


def test_what_does_not_steer_stays() -> None:
    assert printable.visible(HARMLESS) == HARMLESS
    assert printable.one_line("a\nb\tc") == "a\\nb\\tc"
    assert printable.one_line("x" * 500, 20) == "x" * 19 + "…"


@given(st.text(st.characters(exclude_categories=())))
def test_any_text(text: str) -> None:
    shown = printable.visible(text)
    assert printable.visible(shown) == shown
    assert not any(character in shown for character in STEERING)
    shown.encode()
    printed = terminal.json_text({"a": text})
    assert json.loads(printed) == {"a": text}
    assert not any(character in printed for character in STEERING)


@contextmanager
def streams(monkeypatch: pytest.MonkeyPatch, out: Any, err: Any) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        with terminal.guarded():
            yield


def wrapper(encoding: str = "utf-8", terminal_: bool = False) -> io.TextIOWrapper:
    class Stream(io.TextIOWrapper):
        def isatty(self) -> bool:
            return terminal_

    return Stream(io.BytesIO(), encoding=encoding)


def content(stream: io.TextIOWrapper) -> str:
    stream.flush()
    found: bytes = stream.buffer.getvalue()  # type: ignore[attr-defined]
    return found.decode(stream.encoding)


def prints(text: str) -> None:
    """The ways in which a text gets onto stdout."""
    import click

    print(text)
    print("x" + text, end="")
    sys.stdout.write(text)
    click.echo(text)
    console = terminal.console()
    console.print(text)
    console.print(Text(text))
    console.print(f"[red]{text}[/nonsense]", soft_wrap=True)
    table = Table(text, title=text, caption=Text(text))
    table.add_row(text)
    table.add_row(Text(text))
    console.print(table)
    with terminal.live(terminal.console().status(text)) as status:
        status.update(text)
        print("x" + text)
        click.echo(text)
        terminal.console().print(text)
    terminal.print_json({text: [text]})


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp1251", "utf-16"])
@pytest.mark.parametrize("terminal_", [False, True], ids=["pipe", "terminal"])
def test_every_way_onto_the_terminal(
    monkeypatch: pytest.MonkeyPatch, encoding: str, terminal_: bool
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("TERM", "xterm-256color" if terminal_ else "dumb")
    hostile = "".join(f"{c}31mзло🙂é" for c in STEERING)
    out, err = wrapper(encoding, terminal_), wrapper(encoding, terminal_)
    with streams(monkeypatch, out, err):
        prints(hostile)
    shown = content(out)
    assert "\\x1b31m" in shown
    for character in STEERING:
        assert f"{character}31m" not in shown
    if not terminal_:
        assert not any(character in shown for character in STEERING)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1251", "koi8-r", "utf-8"])
@given(value=st.text(st.characters(exclude_categories=())))
def test_json_is_json_in_every_encoding(encoding: str, value: str) -> None:
    out = wrapper(encoding)
    with streams(pytest.MonkeyPatch(), out, wrapper()):
        terminal.print_json([value])
    assert json.loads(content(out)) == [value]


def test_tqdm_may_begin_its_line_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for terminal_, expected in ((True, "\r 10%\\x0d 20%"), (False, "\\x0d 10%\\x0d 20%")):
        err = wrapper(terminal_=terminal_)
        with streams(monkeypatch, wrapper(), err):
            sys.stderr.write("\r 10%\r 20%")
        assert content(err) == expected


def test_data_passes_unchanged_into_a_pipe_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for terminal_, expected in ((False, "\x1b[2J\n"), (True, "\\x1b[2J\n")):
        out = wrapper(terminal_=terminal_)
        with streams(monkeypatch, out, wrapper()):
            terminal.print_data("\x1b[2J")
        assert content(out) == expected


def test_a_reader_that_goes_away_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as out, streams(monkeypatch, out, wrapper()):
        assert not terminal.reader_gone()
        for _ in range(3):
            print("кошка" * 10_000)
            terminal.console().print("кошка")
            sys.stdout.flush()
        assert terminal.reader_gone()


def test_a_full_disk_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with (
        open("/dev/full", "w", encoding="utf-8") as out,  # noqa: PTH123
        streams(monkeypatch, out, wrapper()),
    ):
        print("кошка")
        with pytest.raises(EngineError, match=r"stdout cannot be written: No space left"):
            sys.stdout.flush()
        sys.stdout.flush()  # reported once


def test_closed_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    with streams(monkeypatch, None, None):
        print("x")
        print("y", file=sys.stderr)
        terminal.console().print("z")


def test_the_streams_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    out = wrapper()
    monkeypatch.setattr(sys, "stdout", out)
    with terminal.guarded():
        guard = sys.stdout
        assert guard is not out
        with terminal.guarded():
            assert sys.stdout is guard
        assert not hasattr(sys.stdout, "buffer")
        with pytest.raises(TypeError):
            sys.stdout.write(b"x")  # type: ignore[arg-type]
    assert sys.stdout is out
    assert out.errors == "strict"
