"""A command to begin with."""

from __future__ import annotations

from engine.scaffold.kind import PackageKind

PLUGIN = '''\
"""`engine $name`: how large the files of a folder are.

Its contract: engine/contracts/command.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from engine.contracts import Command
from engine.errors import DataError


class $class_name(Command):
    """$title."""

    def app(self) -> Callable[..., object]:
        """The function whose arguments are those of the command."""
        return files


def files(
    folder: Annotated[Path, typer.Argument(help="A folder, such as a model's.")],
    total: Annotated[bool, typer.Option("--total", help="Their sum alone.")] = False,
) -> None:
    """Show how many bytes each file of a folder has, the largest first."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder", hint="give the folder of a model")
    sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    if not total:
        for path, size in sorted(sizes.items(), key=lambda item: (-item[1], str(item[0]))):
            typer.echo(f"{size:>12,} {path.relative_to(folder)}")
    typer.echo(f"{sum(sizes.values()):>12,} bytes in {len(sizes)} files")
'''

PACKAGE = PackageKind(
    file="command",
    contract="Command",
    contract_module="engine.contracts.command",
    summary="the bytes of a folder's files, the largest first",
    settings="",
    plugin=PLUGIN,
    headline="A small model to try `engine $name` on: `engine build my.yaml`.",
    commands=(
        "pip install -e '.[test]'",
        "pytest",
        "engine $name --help",
        "engine build my.yaml",
        "engine $name build/$name",
    ),
)
