"""``engine check``: what training would refuse, in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.options import Json, Overrides
from engine.core.progress import in_words

if TYPE_CHECKING:
    from engine.errors import EngineError


def command(
    config: Annotated[Path, typer.Argument(help="The config, a YAML file.")],
    data: Annotated[
        bool,
        typer.Option(
            "--data/--no-data",
            help="Also open the data and send a batch through the model; without, the config and"
            " its limits alone.",
        ),
    ] = True,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Find everything that training would refuse; write nothing.

    Paths, losses, clusters, limits, one batch through each stage. Exit code 2 where something is
    refused, 1 where it is the limit alone.
    """
    from engine.core.config import EngineConfig, load_located

    settings, places = load_located(EngineConfig, config, overrides or [])
    found: list[tuple[str, str]] = []
    errors: list[EngineError] = []
    if data:
        from engine.train.check import check

        checked = check(settings, _say)
        found, errors = checked.found, checked.errors
    else:
        from engine.core.size import config_size
        from engine.errors import EngineError, at_setting

        try:
            with at_setting("limits.weights"):
                report = config_size(settings)
                report.check()
            found.append(("limits", f"{report.total:,} bytes of weights"))
        except EngineError as error:
            errors.append(error)
    errors = [places.locate(error) for error in errors]
    _show(str(config), found, errors, as_json=json)
    if errors:
        raise typer.Exit(max(error.exit_code for error in errors))


def _show(
    name: str, found: list[tuple[str, str]], errors: list[EngineError], *, as_json: bool
) -> None:
    from engine.cli.main import report
    from engine.cli.tables import stdout
    from engine.core.terminal import print_json

    if as_json:
        print_json(
            {
                "config": name,
                "ok": not errors,
                "found": [{"part": part, "what": what} for part, what in found],
                "errors": [{"message": e.message, "hint": e.hint} for e in errors],
            }
        )
        return
    from rich.text import Text

    for part, what in found:
        stdout().print(Text(f"{part}: {what}"), soft_wrap=True)
    for error in errors:
        report(error)
    if not errors:
        stdout().print(Text(f"{name}: training would start"), soft_wrap=True)


def _say(what: str, done: float = 0, total: float | None = None, /) -> None:
    typer.echo(f"{in_words(what, done, total)} ...", err=True)
