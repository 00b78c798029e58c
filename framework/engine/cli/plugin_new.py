"""``engine plugin new``: a package with a plugin of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli.options import Json

app = typer.Typer(help="A plugin of your own.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """A plugin of your own."""


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="Of the package: engine-my-encoder.")],
    kind: Annotated[
        str, typer.Option("--kind", metavar="KIND", help="Such as text_encoder, dataset or loss.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Its folder (NAME).")
    ] = None,
    json: Json = False,
) -> None:
    """Write a package with one plugin: the smallest that works and trains, and its tests.

    `engine plugins` lists the kinds. Exit code 2, and nothing written, where a name is bad or
    taken, or the folder exists.
    """
    from engine.cli.tables import stdout
    from engine.core.terminal import print_json
    from engine.scaffold import new_package

    package = new_package(name, kind, output)
    names = package.names
    if json:
        print_json(
            {"folder": str(package.folder), "kind": names.kind, "name": names.plugin,
             "distribution": names.distribution, "module": names.module,
             "files": list(package.files), "commands": list(package.commands)}
        )  # fmt: skip
        return
    lines = [f"{package.folder}: a package with the {names.kind} `{names.plugin}`"]
    lines += [f"  {path}" for path in package.files]
    lines += ["next:", f"  cd {package.folder}", *(f"  {line}" for line in package.commands)]
    for line in lines:
        stdout().print(line, soft_wrap=True)
