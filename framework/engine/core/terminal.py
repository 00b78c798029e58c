"""The terminal: everything that the commands print passes through here.

Names, manifests, configs and checkpoints come from others, and a terminal obeys what is printed on
it: an escape sequence clears the screen, changes the window's title or writes over a line, and a
bidirectional override shows text in another order than it has. So while :func:`guarded` is active,
``sys.stdout`` and ``sys.stderr`` write such characters as ``\\x1b`` or ``\\u202e``. Colours and
progress bars are drawn by :func:`console`, which escapes in the same way whatever it is given.

Characters that the terminal's encoding does not have (``PYTHONIOENCODING=ascii``, a C locale) are
written as escapes too, and a reader that goes away (``engine plugins | head``) ends nothing: what
is printed from then on is dropped, and the work is done to its end.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from engine.errors import EngineError
from engine.printable import STEERS, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.progress import Progress
    from rich.status import Status

    Display = TypeVar("Display", Live, Progress, Status)


def json_text(value: Any, *, indent: int | None = None, ascii_only: bool = False) -> str:
    """``value`` as JSON that is safe to print: what steers a terminal is escaped as JSON does.

    Args:
        value: of JSON's types.
        indent: spaces a level; ``None``: one line.
        ascii_only: escape every character that is not ASCII.
    """
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    return STEERS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print ``value`` on stdout as JSON, with ASCII escapes where stdout's encoding needs them."""
    text = json_text(value, indent=indent)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # "backslashreplace" would write \xe9, which JSON does not know
        text = json_text(value, indent=indent, ascii_only=True)
    sys.stdout.write(text + "\n")


def console(*, stderr: bool = False, **options: Any) -> Console:
    """A rich console on stdout or stderr; its text is never markup, and escaped if it steers.

    Args:
        stderr: print on stderr.
        options: of :class:`rich.console.Console`.
    """
    stream = sys.stderr if stderr else sys.stdout
    # Inside `live` the streams are rich's proxies, for others' prints; a console passes by them.
    stream = getattr(stream, "rich_proxied_file", stream)
    if isinstance(stream, Guard):
        stream = stream.unescaped()
    defaults: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False}
    if not _has_width(stream):
        defaults["width"] = _FILE_WIDTH
    return _safe_console()(**{**defaults, "file": stream, **options})


_FILE_WIDTH = 10_000
"""Columns of what is not a terminal: a file and another program get every line and cell whole."""


def _has_width(stream: Any) -> bool:
    return bool(stream.isatty()) or bool(os.environ.get("COLUMNS"))


@cache
def _safe_console() -> type[Console]:
    """Made on first use: rich is not imported before something is drawn."""
    from rich.console import Console
    from rich.segment import Segment
    from rich.table import Table
    from rich.text import Text

    from engine.core.whole_cells import room_for_numbers

    class Safe(Console):
        def render_str(self, text: str, **more: Any) -> Text:
            return super().render_str(visible(text), **more)

        def print(self, *objects: Any, **options: Any) -> None:
            # A table that needs more room than the terminal has is wrapped by it, and not cut.
            super().print(*objects, **{"crop": False, **options})

        def render(self, renderable: Any, options: Any = None) -> Iterator[Segment]:
            if isinstance(renderable, Table):
                options = room_for_numbers(renderable, options or self.options)
            for segment in super().render(renderable, options):
                if segment.control or not STEERS.search(segment.text):
                    yield segment
                else:
                    yield Segment(visible(segment.text), segment.style)

    return Safe


@contextlib.contextmanager
def live(display: Display) -> Iterator[Display]:
    """Show a progress bar, a status or another live display of a :func:`console` while inside."""
    with display, guarded():  # rich puts proxies before the streams: these are guarded too
        yield display


class Guard:
    """A text stream that is safe to print on, whatever the text and whoever reads.

    Bytes are not taken, and there is no ``buffer``: nothing passes by.

    Attributes:
        gone: the reader has closed its end; everything written since is dropped.
    """

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream, self._name = stream, name
        self.gone = False

    def write(self, text: str) -> int:
        """Write with everything escaped that steers a terminal.

        Raises:
            EngineError: stdout cannot be written (the disk is full, say).
        """
        if not isinstance(text, str):
            raise TypeError(f"a text is expected, not {type(text).__name__}")
        # tqdm, in libraries that we call, begins its line again.
        begin = "\r" if text.startswith("\r") and self._stream.isatty() else ""
        if text:  # click writes nothing to see what a stream takes, and hears no error
            self._write(begin + visible(text[len(begin) :]))
        return len(text)

    def flush(self) -> None:
        """Write out what is held.

        Raises:
            EngineError: stdout cannot be written.
        """
        with self._watched():
            self._stream.flush()

    def unescaped(self) -> _Unescaped:
        """The same stream for a program that escapes by itself and draws."""
        return _Unescaped(self)

    def _write(self, text: str) -> None:
        with self._watched():
            self._stream.write(text)

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            self._drop()
        except OSError as error:
            self._drop()
            if self._name == "stdout":
                raise EngineError(f"stdout cannot be written: {error.strerror or error}") from error

    def _drop(self) -> None:
        """From now on everything goes nowhere, also what the interpreter flushes at its end."""
        self.gone = True
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":
            raise AttributeError(name)
        return getattr(self._stream, name)


class _Unescaped:
    """A guarded stream without the escaping: for rich, whose text is escaped before it is drawn."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def write(self, text: str) -> int:
        self._guard._write(text)
        return len(text)

    def flush(self) -> None:
        self._guard.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guard, name)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Guard ``sys.stdout`` and ``sys.stderr`` (:class:`Guard`) while inside."""
    with contextlib.ExitStack() as stack:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if isinstance(stream, Guard):
                continue
            if stream is None:  # closed by the shell: `>&-`
                stream = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
            elif isinstance(stream, io.TextIOWrapper):
                stack.callback(stream.reconfigure, errors=stream.errors)
                stream.reconfigure(errors="backslashreplace")
            stack.callback(setattr, sys, name, getattr(sys, name))
            setattr(sys, name, Guard(stream, name))
        yield


def print_data(text: str) -> None:
    """Print a line of a command that passes on what it reads: unchanged into a pipe or a file.

    On a terminal it is escaped like everything else.
    """
    stream: Any = sys.stdout
    if isinstance(stream, Guard) and not stream.isatty():
        stream = stream.unescaped()
    stream.write(text + "\n")


def reader_gone() -> bool:
    """Whether nobody reads stdout any more; a command whose only result that is may stop."""
    return bool(getattr(sys.stdout, "gone", False))
