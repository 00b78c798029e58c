"""``engine``: the commands, and how errors reach the user.

Exit codes: 0 done; 1 a limit is broken, or `data verify` found faults; 2 bad input, reported on one
screen; 130 Ctrl-C; 143 SIGTERM; 129 SIGHUP.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from engine.cli.commands import Commands
from engine.core import terminal
from engine.core.collections_paused import without_collections
from engine.core.signals import ending_in_order
from engine.errors import EngineError

app = typer.Typer(
    name="engine",
    cls=Commands,
    help="A YAML config becomes an image-text model, under a limit on the bytes of its weights.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: half the start-up time of the boxed one
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(show: bool) -> None:
    if show:
        from engine.version import __version__

        typer.echo(f"engine {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every command."""


def run() -> None:
    """Entry point of the ``engine`` command."""
    with terminal.guarded(), ending_in_order(), _logged(), without_collections():
        _run()


def _run() -> None:
    _show_deprecations()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # what cannot be written is reported here, not when Python ends
    except EngineError as error:
        report(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt as stop:
        _tell_stopped(stop)
        sys.exit(130)
    except SystemExit as stop:
        if isinstance(stop.code, int) and stop.code > 128:
            _tell_stopped(stop)
        raise
    except Exception as error:  # a full disk, a folder without permission
        from engine.core.files import disk_trouble

        trouble = disk_trouble(error)
        if trouble is not None:
            hint = "make room on the disk and give the same command again"
            report(EngineError(f"a file cannot be written: {trouble}", hint=hint))
        elif isinstance(error, OSError):
            report(EngineError(f"{type(error).__name__}: {error}"))
        else:
            raise
        sys.exit(2)


def _tell_stopped(stop: BaseException) -> None:
    """One line: it was stopped, and how it goes on."""
    notes: list[str] = []
    found: BaseException | None = stop
    while found is not None and not notes:  # typer raises its own exception out of Ctrl-C
        notes = list(getattr(found, "__notes__", ()))
        found = found.__cause__ or found.__context__
    note = notes[0] if notes else "nothing half-written is left; the same command starts again"
    print(f"stopped; {note}", file=sys.stderr)


@contextlib.contextmanager
def _logged() -> Iterator[None]:
    """What Engine and its plugins log as a warning is shown as one."""

    class Shown(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            from engine.cli.tables import print_warning

            print_warning(record.getMessage())

    handler = Shown(logging.WARNING)
    loggers = [logging.getLogger(name) for name in ("engine", "engine_plugins")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


def _show_deprecations() -> None:
    """What a config uses and a later version will not have is a warning of ours, in one line."""
    import warnings

    from engine.contracts.deprecation import EngineDeprecation

    before = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if issubclass(category, EngineDeprecation):
            from engine.cli.tables import print_warning

            print_warning(str(message))
        else:
            before(message, category, *rest, **more)

    warnings.showwarning = show


def report(error: EngineError) -> None:
    """Print an error for a person: what and where, then what to do."""
    from rich.text import Text

    console = terminal.console(stderr=True, soft_wrap=True)
    console.print(Text("error: ", style="bold red") + Text(error.message))
    if error.hint:
        console.print(Text("hint: ", style="bold cyan") + Text(error.hint))
