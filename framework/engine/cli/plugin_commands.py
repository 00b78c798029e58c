"""Commands of plugins: listed with Engine's own, imported when they are used.

The objects of click are typed ``Any``: some versions of typer bring a click of their own, others
use the installed one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from engine.errors import EngineError, PluginError

if TYPE_CHECKING:
    from engine.contracts.hooks import Plugin


class Commands(TyperGroup):
    """Engine's own commands, and those of the installed plugins behind them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names for ``engine --help``."""
        from engine.core.registry import default_registry

        own = super().list_commands(ctx)
        return [*own, *(name for name in default_registry().names("command") if name not in own)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command; one of a plugin without its code, as its help and completion need it."""
        if (own := super().get_command(ctx, cmd_name)) is not None:
            return own
        plugin = _find(cmd_name)
        return None if plugin is None else _Unloaded(cmd_name, plugin)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command to run; here a plugin's code is imported.

        Raises:
            PluginError: the code does not import, or does not give a command.
        """
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.loaded() if isinstance(command, _Unloaded) else command, rest


class _Unloaded(TyperCommand):
    """A plugin's command before its code is imported: its name and summary."""

    def __init__(self, name: str, plugin: Plugin) -> None:
        super().__init__(name, short_help=plugin.summary, help=plugin.summary)
        self._plugin = plugin

    def loaded(self) -> Any:
        plugin = self._plugin
        made = plugin.load()(plugin.load_settings()())
        try:
            return _as_click(self.name or plugin.name, plugin, made.app())
        except EngineError:
            raise
        except Exception as error:  # a plugin's own code may raise anything
            raise PluginError(
                f"command `{plugin.name}`: {plugin.target} gives no command:"
                f" {type(error).__name__}: {error}"
            ) from error


def _as_click(name: str, plugin: Plugin, app: Any) -> Any:
    if not isinstance(app, typer.Typer):
        if not callable(app):
            raise TypeError(f"app() gave {app!r}, neither a typer.Typer nor a function")
        function, app = app, typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command(name, short_help=plugin.summary)(function)
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
