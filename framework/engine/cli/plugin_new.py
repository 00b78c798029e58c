"""``engine plugin new``: a package with a plugin of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli.options import Json

app = typer.Typer(
    help="A plugin of your own.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def group() -> None:
    """A plugin of your own."""


@app.command("new", short_help="Write a package with one working plugin.")
def new(
    name: Annotated[str, typer.Argument(help="Of the package: engine-my-encoder.")],
    kind: Annotated[
        str, typer.Option("--kind", metavar="KIND", help="Such as text_encoder, dataset or loss.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Its folder (NAME).")
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option("--into", metavar="DIR", help="Add the plugin to the package in this folder."),
    ] = None,
    json: Json = False,
) -> None:
    """Write a package with one plugin: the smallest that works and trains, and its tests.

    With --into the plugin is added to a package that is there: NAME is then the plugin's (a text
    encoder that needs a tokenizer of its own, say). `engine plugins` lists the kinds.

    Exit code 2, and nothing written, where a name is bad or
    taken, or the folder exists.
    """
    from engine.cli.tables import stdout
    from engine.core.terminal import print_json
    from engine.errors import PluginError
    from engine.scaffold import add_plugin, new_package

    if into is not None and output is not None:
        raise PluginError("--into and --output exclude each other", hint="give one of them")
    package = new_package(name, kind, output) if into is None else add_plugin(name, kind, into)
    names = package.names
    if json:
        print_json(
            {"folder": str(package.folder), "kind": names.kind, "name": names.plugin,
             "distribution": names.distribution, "module": names.module,
             "files": list(package.files), "commands": list(package.commands)}
        )  # fmt: skip
        return
    what = "a package with" if into is None else "now also has"
    lines = [f"{package.folder}: {what} the {names.kind} `{names.plugin}`"]
    lines += [f"  {path}" for path in package.files]
    lines += ["next:", f"  cd {package.folder}", *(f"  {line}" for line in package.commands)]
    for line in lines:
        stdout().print(line, soft_wrap=True)
