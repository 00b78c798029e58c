"""``engine explain``: every key of a config, from the schema itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.options import Json

if TYPE_CHECKING:
    from engine.core.config.explain import ConfigKey


def command(
    key: Annotated[
        str, typer.Argument(help="A key, such as train.stages; without one, all of them.")
    ] = "",
    json: Json = False,
    markdown: Annotated[
        bool,
        typer.Option("--md", help="The whole reference as Markdown, the plugins' settings too."),
    ] = False,
) -> None:
    """Explain the keys of a config: type, default, unit, example, description.

    Below a plugin: `engine explain model.text.gpt3small.width`.
    """
    from engine.core.config.explain import explain, page
    from engine.core.registry import default_registry
    from engine.core.terminal import print_json

    registry = default_registry()
    if markdown:
        typer.echo(page(registry), nl=False)
        return
    found = explain(key, registry)
    if json:
        print_json({"keys": [one.to_json() for one in found]})
        return
    if key:
        for one in found:
            _print(one)
    else:
        for one in found:
            typer.echo(f"{one.path}: {one.type}{_default(one)}")


def _default(key: ConfigKey) -> str:
    return " (required)" if key.required else f" ({key.default})"


def _print(key: ConfigKey) -> None:
    from rich.text import Text

    from engine.cli.tables import stdout

    unit = f" [{key.unit}]" if key.unit else ""
    head = Text(key.path, style="bold") + Text(f": {key.type}{unit}")
    stdout().print(head, soft_wrap=True)
    lines = [key.description, "required" if key.required else f"default: {key.default}"]
    lines.append(f"example: {key.example}")
    if key.plugins:
        lines.append(f"plugins: {', '.join(key.plugins)}")
    for line in filter(None, lines):
        stdout().print(Text(f"    {line}"), soft_wrap=True)
