"""The commands of ``engine``: Engine's own and those of plugins, each imported when it is used.

``engine --help`` names some twenty commands and needs none of their code: with the table below it
takes half the time that importing them all would take (``benchmarks/startup.py``).

The objects of click are typed ``Any``: some versions of typer bring a click of their own, others
use the installed one.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from engine.errors import EngineError, PluginError, did_you_mean

if TYPE_CHECKING:
    from engine.contracts.hooks import Plugin

OWN: dict[str, tuple[str, str]] = {
    "build": ("build:command", "A config becomes a model on disk."),
    "size": ("size:command", "The exact bytes of models; checks limits."),
    "check": ("check:command", "What training would refuse, in seconds."),
    "train": ("train:command", "Train a model."),
    "sweep": ("sweep:command", "Search over settings, under a limit."),
    "show": ("show:command", "Show a training run: stages, scores, curves."),
    "predict": ("predict:command", "Classify images into class names."),
    "eval": ("evaluate:command", "Score a model, or a file of predictions."),
    "embed": ("embed:command", "Write a tower's vectors of any data, shard by shard."),
    "index": ("index:command", "Make an index of pictures for `engine search`."),
    "search": ("search:command", "Find pictures by text, or by a picture."),
    "serve": ("serve:command", "A model over HTTP: embeddings, classes, search, a page."),
    "import": ("import_:command", "Read another program's checkpoint."),
    "export": ("export:command", "Write a model as ONNX, or for transformers."),
    "fit": ("fit:fit", "The best model under N megabytes."),
    "trim": ("fit:trim", "Leave out what some languages cannot need."),
    "plugins": ("plugins:command", "List what is installed, with its settings."),
    "explain": ("explain:command", "Every key of a config: type, default, example."),
    "schema": ("schema:command", "JSON Schema of configs, for editors."),
    "bench": ("bench:app", "The leaderboard: who is best under N bytes."),
    "plugin": ("plugin_new:app", "Write a plugin of your own."),
    "cluster": ("cluster:app", "Clusters of meaning among the queries."),
    "data": ("data:app", "Training data: make, download, clean, look at."),
}
"""Engine's own commands in the order of the help: where the code is, and the line of the help.

``module:name`` within ``engine.cli``; the name is a function, or a ``typer.Typer`` with commands of
its own.
"""


_UsageError: Any = typer.BadParameter.__mro__[1]  # typer gives it no name of its own


@contextlib.contextmanager
def _reported(path: str) -> Iterator[None]:
    try:
        yield
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help
            raise
        path = error.ctx.command_path if error.ctx is not None else path
        hint = f"`{path} --help` says what it takes"
        raise EngineError(error.format_message(), hint=hint) from None


class Commands(TyperGroup):
    """Engine's own commands, and those of the installed plugins behind them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names for ``engine --help``."""
        from engine.core.registry import default_registry

        return [*OWN, *(name for name in default_registry().names("command") if name not in OWN)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command without its code, as the list of commands and completion need it."""
        if cmd_name in OWN:
            place, line = OWN[cmd_name]
            return _Unloaded(cmd_name, line, lambda: _own(cmd_name, place, line))
        plugin = _find(cmd_name)
        if plugin is None:
            return None
        return _Unloaded(cmd_name, plugin.summary, lambda: _of_plugin(cmd_name, plugin))

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **more: Any) -> Any:
        """Read the options before the command; misused ones are reported as every error is."""
        with _reported(info_name or "engine"):
            return super().make_context(info_name, args, *rest, **more)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a misused one is reported as every other error is."""
        with _reported(ctx.command_path):
            return super().invoke(ctx)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command to run; here its code is imported.

        Raises:
            PluginError: a plugin's code does not import, or does not give a command.
        """
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            near = did_you_mean(args[0], self.list_commands(ctx))
            raise EngineError(
                f"engine has no command `{args[0]}`{near}", hint="`engine --help` lists all"
            )
        name, command, rest = super().resolve_command(ctx, args)
        command = command.loaded() if isinstance(command, _Unloaded) else command
        gc.enable()  # from here on it is a command's own work, maybe of hours
        return name, command, rest


class _Unloaded(TyperCommand):
    """A command before its code is imported: its name and its line of the help."""

    def __init__(self, name: str, line: str, load: Callable[[], Any]) -> None:
        super().__init__(name, short_help=line, help=line)
        self.loaded = load


def _own(name: str, place: str, line: str) -> Any:
    module, _, attribute = place.partition(":")
    found = getattr(importlib.import_module(f"engine.cli.{module}"), attribute)
    return _as_click(name, line, found)


def _of_plugin(name: str, plugin: Plugin) -> Any:
    made = plugin.load()(plugin.load_settings()())
    try:
        app = made.app()
        if not isinstance(app, typer.Typer) and not callable(app):
            raise TypeError(f"app() gave {app!r}, neither a typer.Typer nor a function")
        return _as_click(name, plugin.summary, app)
    except EngineError:
        raise
    except Exception as error:  # a plugin's own code may raise anything
        raise PluginError(
            f"command `{plugin.name}`: {plugin.target} gives no command:"
            f" {type(error).__name__}: {error}"
        ) from error


def _as_click(name: str, line: str, app: Any) -> Any:
    if not isinstance(app, typer.Typer):
        function, app = app, typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command(name, short_help=line)(function)
    command = typer.main.get_command(app)
    command.name = name
    return command


def _find(name: str) -> Plugin | None:
    """The plugin of a command, ``None`` where there is none of the name.

    Raises:
        PluginError: several packages offer it; or there is none, and a package that may have
            brought it is broken.
    """
    from engine.core.registry import default_registry

    registry = default_registry()
    plain = name.rpartition(":")[2]
    if plain not in registry.names("command") and not registry.broken:
        return None  # typer's own error for a command that does not exist
    return registry.get("command", name)
