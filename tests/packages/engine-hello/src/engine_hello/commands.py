"""Two commands: a function, and a group."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from engine.contracts import KINDS, Command
from engine.core.registry import default_registry
from engine.errors import DataError


class Hello(Command):
    """`engine hello NAME`."""

    def app(self) -> Callable[..., object]:
        """One function is one command."""

        def hello(
            name: Annotated[str, typer.Argument(help="Who is greeted.")],
            loud: Annotated[bool, typer.Option("--loud", help="In capital letters.")] = False,
        ) -> None:
            """Greet somebody by name."""
            text = f"hello {name}"
            typer.echo(text.upper() if loud else text)

        return hello


class Count(Command):
    """`engine count plugins` and `engine count lines`."""

    def app(self) -> typer.Typer:
        """A typer with several commands is a group."""
        group = typer.Typer(help="Count plugins or lines.", no_args_is_help=True)

        @group.command()
        def plugins() -> None:
            """How many plugins of each kind are installed."""
            for kind in KINDS:
                typer.echo(f"{kind} {len(default_registry().names(kind))}")

        @group.command()
        def lines(path: Path) -> None:
            """How many lines a file has."""
            try:
                typer.echo(str(len(path.read_text(encoding="utf-8").splitlines())))
            except OSError as error:
                raise DataError(f"{path}: {error.strerror}", hint="name a file") from error

        return group
