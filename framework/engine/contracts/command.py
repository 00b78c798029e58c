"""Commands: what a package adds to the command line. Nothing here imports torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

    from engine.contracts.settings import Settings  # pydantic: `engine --help` does without


class Command(ABC):
    """A subcommand of ``engine``, or a group of them.

    ``Plugin("command", "hello", "my_package.hello:Hello", summary="Say hello.")`` becomes ``engine
    hello``. Its name is lower-case letters, digits, hyphens and underscores, a letter first, and is
    none of :data:`BUILT_IN`. ``engine --help`` shows the name and the summary without importing the
    class; it is imported when the command is used. A command has no settings: it reads its options
    from the command line.

    Errors are those of ``engine.errors``: one is shown as a message and a hint, and ends the
    command with its exit code. Ctrl-C and a full disk are handled as for Engine's own commands.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        from engine.contracts.settings import Settings

        self.settings = settings or Settings()

    @abstractmethod
    def app(self) -> typer.Typer | Callable[..., object]:
        """The command: a function with annotations as typer reads them, or a ``typer.Typer``.

        A function is one command, its docstring the help. A ``typer.Typer`` with several commands
        is a group, ``engine hello world``.
        """


BUILT_IN = frozenset(
    {
        "bench",
        "build",
        "check",
        "cluster",
        "data",
        "embed",
        "eval",
        "explain",
        "export",
        "fit",
        "import",
        "index",
        "plugin",
        "plugins",
        "predict",
        "schema",
        "search",
        "serve",
        "show",
        "size",
        "sweep",
        "train",
        "trim",
    }
)
"""Engine's own commands, whose names a plugin cannot have (a test compares it with the CLI)."""
