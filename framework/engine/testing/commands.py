"""What commands promise."""

from __future__ import annotations

from typing import Any

import typer
from typer.testing import CliRunner

from engine.testing.common import call
from engine.testing.core import fault, rule
from engine.testing.subject import Subject

_COMMAND = "engine.contracts.command.Command"
_NO_OPTION = "--an-option-that-no-command-has"


class CommandSubject(Subject):
    """A command."""

    def app(self) -> Any:
        """What it gives."""
        made = call(
            self.target,
            self.settings,
            expected=f"{self.target.__name__}(settings) to give a command",
        )
        return call(made.app, expected="app() to give a command")

    def run(self, *arguments: str) -> Any:
        """What the command does with arguments, as ``engine NAME ...`` runs it."""
        found = self.app()
        if not isinstance(found, typer.Typer):
            function, found = found, typer.Typer(add_completion=False, rich_markup_mode=None)
            found.command(self.plugin.name)(function)
        return CliRunner().invoke(found, list(arguments))


SUBJECT = CommandSubject


@rule(
    contract=f"{_COMMAND}.app",
    says="The command: a function with annotations as typer reads them, or a ``typer.Typer``.",
    why="Engine hands it to typer, which reads the options from its annotations.",
    needs=("settings_valid",),
)
def app(it: CommandSubject) -> None:
    """app() gives a function or a typer, each time it is asked."""
    for time in ("first", "second"):
        found = it.app()
        if not isinstance(found, typer.Typer) and not callable(found):
            fault("app() to give a function or a typer.Typer", f"the {time} call gave {found!r}")


@rule(
    contract=_COMMAND,
    says="``engine --help`` shows the name and the summary without importing the class",
    why="Who reads `engine --help` learns from the summary alone what the command is for.",
    needs=("registration",),
)
def summary(it: CommandSubject) -> None:
    """The plugin's record has a summary of one line."""
    text = it.plugin.summary
    if not text.strip() or len(text.splitlines()) != 1:
        fault("a summary of one line in the plugin's record", repr(text))


@rule(
    contract=f"{_COMMAND}.app",
    says="A function is one command, its docstring the help.",
    why="`engine NAME --help` is how a user finds out what to write.",
    needs=("app",),
)
def help_text(it: CommandSubject) -> None:
    """`--help` prints a help and does nothing else."""
    done = it.run("--help")
    if done.exit_code != 0 or "Usage" not in done.output:
        fault(
            "`--help` to print a help and end with exit code 0",
            f"exit code {done.exit_code}, {done.output.strip()[:200]!r}, {done.exception!r}",
        )


@rule(
    contract=_COMMAND,
    says="it reads its options from the command line",
    why="A misspelt option that is passed over does another thing than the user asked for.",
    needs=("app",),
)
def unknown_option(it: CommandSubject) -> None:
    """An option that it does not have is refused with exit code 2."""
    done = it.run(_NO_OPTION)
    if done.exit_code != 2:
        fault(
            f"`{_NO_OPTION}` to be refused with exit code 2",
            f"exit code {done.exit_code}, {done.output.strip()[:200]!r}",
        )


RULES = (app, summary, help_text, unknown_option)
