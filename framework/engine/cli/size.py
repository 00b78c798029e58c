"""``engine size``: exact bytes on disk, without a weight in memory; the check for a CI."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.options import Json, Overrides

if TYPE_CHECKING:
    from engine.core.size import SizeReport


def command(
    paths: Annotated[list[Path], typer.Argument(help="Configs, or artifact folders.")],
    limit: Annotated[
        str | None,
        typer.Option(help="Bytes allowed: 1GB, 300MB, 1GiB (default: the config's own)."),
    ] = None,
    overrides: Overrides = None,
    meta: Annotated[
        bool, typer.Option(help="Build on PyTorch's meta device instead of reading plans.")
    ] = False,
    tensors: Annotated[
        bool, typer.Option("--tensors", help="Also tensor by tensor, with its storage.")
    ] = False,
    json: Json = False,
) -> None:
    """Print the exact bytes of models. Exit code 1 where one is over its limit.

    A config's weights are predicted; of an artifact, all its files are counted too
    (`limits.folder`).
    """
    from engine.cli.tables import print_warning, size_table, stdout, tensor_table
    from engine.core.terminal import print_json

    allowed = _limit(limit)
    reports = [_report(path, allowed, overrides or [], meta=meta) for path in paths]
    if json:
        print_json({"models": [report.to_json(tensors=tensors) for report in reports]})
    else:
        if len(reports) == 1:
            stdout().print(size_table(reports[0]))
        else:
            _print_many(reports)
        if tensors:
            for report in reports:
                stdout().print(tensor_table(report))
    excesses = [excess for report in reports if (excess := report.excess())]
    for excess in excesses:
        print_warning(excess)
    if excesses:
        raise typer.Exit(1)


def _limit(text: str | None) -> int | None:
    from engine.contracts.values import parse_bytes
    from engine.errors import ConfigError

    try:
        value = parse_bytes(text)
    except ValueError as error:
        raise ConfigError(f"--limit {text}: {error}") from error
    assert value is None or isinstance(value, int)
    return value


def _report(path: Path, limit: int | None, overrides: list[str], *, meta: bool) -> SizeReport:
    from engine.core.artifact import is_artifact
    from engine.core.config import load_config
    from engine.core.manifest import model_folder
    from engine.core.size import artifact_size, config_size
    from engine.errors import ConfigError

    if is_artifact(model_folder(path)):
        return artifact_size(path, limit)
    if path.is_dir():
        raise ConfigError(
            f"{path} is a folder and no artifact", hint="name a config or an artifact"
        )
    return config_size(load_config(path, overrides), limit, meta=meta)


def _print_many(reports: list[SizeReport]) -> None:
    from rich.table import Table

    from engine.cli.tables import stdout, verdict

    table = Table()
    for name in ("model", "parameters", "buffers", "bytes"):
        table.add_column(name, justify="left" if name == "model" else "right")
    table.add_column("limit")
    for report in reports:
        counts = (report.num_parameters, report.num_buffers, report.total)
        table.add_row(report.name, *(f"{count:,}" for count in counts), verdict(report))
    stdout().print(table)
