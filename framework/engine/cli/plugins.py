"""``engine plugins``: what is installed, from which package, with its settings; what is broken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.options import Json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from engine.contracts.hooks import Plugin
    from engine.core.config.settings_table import SettingRow
    from engine.core.registry import Registered, Registry


def command(
    kind: Annotated[
        str | None,
        typer.Argument(help="A kind, such as text_encoder, or the name of a plugin."),
    ] = None,
    json: Json = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="With the tracebacks of broken packages.")
    ] = False,
) -> None:
    """List the installed plugins; of one kind (or name), with their settings.

    A package that fails to import, or that was written for another version of the plugin API, is
    shown with its error and leaves the exit code at 0: the other plugins work. Scripts read
    `broken` and `clashes` of --json.
    """
    from engine.cli.tables import stdout
    from engine.core.registry import default_registry
    from engine.core.terminal import print_json

    registry = default_registry()
    chosen = _chosen(registry, kind)
    if json:
        print_json(_as_json(registry, chosen, traceback=traceback))
        return
    if kind is None:
        _print_all(stdout(), chosen)
    else:
        for registered in chosen:
            _print_one(stdout(), registered)
    _print_clashes(stdout(), registry)
    _print_broken(stdout(), registry, traceback=traceback)


def _chosen(registry: Registry, word: str | None) -> list[Registered]:
    """The plugins of a kind, or those of a name.

    Raises:
        PluginError: there is neither.
    """
    from engine.contracts.kinds import KINDS
    from engine.errors import PluginError, did_you_mean

    if word is None or word in KINDS:
        return registry.all(word)
    named = [found for found in registry.all() if found.plugin.name == word]
    if named:
        return named
    names = {found.plugin.name for found in registry.all()}
    near = did_you_mean(word, KINDS) or did_you_mean(word, names)
    raise PluginError(
        f"`{word}` is neither a kind of plugin nor a plugin{near}",
        hint=f"kinds are: {', '.join(KINDS)}",
    )


def _settings(registered: Registered) -> list[SettingRow] | str:
    """The rows of its settings, or why there are none."""
    from pydantic.errors import PydanticUserError

    from engine.core.config.settings_table import settings_table
    from engine.errors import PluginError

    try:
        return settings_table(registered.plugin.load_settings())
    except PluginError as error:
        return str(error)
    except (PydanticUserError, TypeError, ValueError) as error:
        return f"its settings cannot be shown: {error}"


def _as_json(registry: Registry, chosen: list[Registered], *, traceback: bool) -> dict[str, Any]:
    from engine.contracts.hooks import API_VERSION

    plugins = []
    for registered in chosen:
        plugin, distribution = registered.plugin, registered.distribution
        settings = _settings(registered)
        row: dict[str, Any] = {
            "kind": plugin.kind, "name": plugin.name, "summary": plugin.summary,
            "distribution": distribution.name, "version": distribution.version,
            "target": plugin.target,
        }  # fmt: skip
        if plugin.deprecated:
            row["deprecated"] = plugin.deprecated
        if isinstance(settings, str):
            row["error"] = settings
        else:
            row["settings"] = [one.to_json() for one in settings]
        plugins.append(row)
    broken: list[dict[str, Any]] = []
    for one in registry.broken:
        row = {
            "entry_point": one.entry_point, "distribution": one.distribution.name,
            "version": one.distribution.version, "error": one.error,
        }  # fmt: skip
        if one.needs_api is not None:
            row["needs_api"] = one.needs_api
        broken.append({**row, "traceback": one.details} if traceback else row)
    clashes = [
        {
            "kind": many[0].plugin.kind,
            "name": many[0].plugin.name,
            "distributions": [str(one.distribution) for one in many],
        }
        for many in registry.clashes()
    ]
    return {"api": API_VERSION, "plugins": plugins, "clashes": clashes, "broken": broken}


def _print_all(console: Console, chosen: list[Registered]) -> None:
    from rich.table import Table
    from rich.text import Text

    from engine.contracts.kinds import KINDS

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for column in ("name", "what it is", "from"):
        table.add_column(column, no_wrap=column == "name")
    before = ""
    for registered in chosen:
        plugin = registered.plugin
        if plugin.kind != before:
            table.add_row(
                Text(plugin.kind, style="bold cyan"),
                Text(KINDS[plugin.kind].description, style="cyan"),
            )
        distribution = Text(str(registered.distribution), style="dim")
        table.add_row(Text(f"  {plugin.name}", style="bold"), _summary(plugin), distribution)
        before = plugin.kind
    console.print(table)
    console.print("engine plugins KIND (or NAME) shows their settings", style="dim")


def _print_one(console: Console, registered: Registered) -> None:
    from rich.table import Table
    from rich.text import Text

    plugin = registered.plugin
    console.print(
        Text.assemble(
            (plugin.name, "bold"), "  ", _summary(plugin), "\n",
            (f"{plugin.kind} from {registered.distribution}, {plugin.target}", "dim"),
        ),
        soft_wrap=True,
    )  # fmt: skip
    settings = _settings(registered)
    if isinstance(settings, str):
        console.print(Text(f"broken: {settings}", style="bold red"), soft_wrap=True)
    elif not settings:
        console.print("no settings")
    else:
        table = Table("setting", "type", "default", "what it is")
        for row in settings:
            default = Text("required", style="bold") if row.required else Text(_yaml(row.default))
            table.add_row(Text(row.name), Text(row.type), default, Text(row.description))
        console.print(table)
    console.print()


def _summary(plugin: Plugin) -> Text:
    """What it is, and whether it will go away."""
    from rich.text import Text

    text = Text(plugin.summary)
    if plugin.deprecated:
        text.append(f"{'; ' if plugin.summary else ''}deprecated: {plugin.deprecated}", "yellow")
    return text


def _yaml(value: Any) -> str:
    """A default as one line of YAML."""
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6)
    return text.removesuffix("...\n").strip()


def _print_clashes(console: Console, registry: Registry) -> None:
    from rich.text import Text

    for many in registry.clashes():
        plugin = many[0].plugin
        owners = " and ".join(str(one.distribution) for one in many)
        console.print(
            Text.assemble(
                ("CLASH ", "bold black on yellow"),
                f" two plugins are called {plugin.kind} `{plugin.name}`: from {owners}."
                " Write `package:name` in a config to say which one is meant.",
            ),
            soft_wrap=True,
        )


def _print_broken(console: Console, registry: Registry, *, traceback: bool) -> None:
    from rich.text import Text

    for broken in registry.broken:
        console.print(
            Text.assemble(
                ("BROKEN ", "bold white on red"),
                f" {broken.distribution} ({broken.entry_point}): {broken.error}",
            ),
            soft_wrap=True,
        )
        if traceback:
            console.print(Text(broken.details, style="dim"), soft_wrap=True)
    if registry.broken and not traceback:
        console.print(
            "Its plugins are missing; all others work. --traceback shows where it failed.",
            style="dim",
        )  # fmt: skip
