"""``engine size``: exact bytes on disk, without a weight in memory; the check for a CI."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.options import Json, Overrides
from engine.core.collections_paused import without_collections

if TYPE_CHECKING:
    from engine.cli.size_renderers import Base, BaseModelSize
    from engine.core.size import SizeReport


class Format(StrEnum):
    """How the sizes are printed."""

    table = "table"
    md = "md"
    badge = "badge"


def command(
    paths: Annotated[
        list[Path], typer.Argument(help="Configs, artifacts, training runs or exports.")
    ],
    limit: Annotated[
        str | None,
        typer.Option(
            help="Bytes allowed, with a unit: 1GB, 300MB, 1GiB (default: the config's own)."
        ),
    ] = None,
    folder_limit: Annotated[
        str | None,
        typer.Option(help="Bytes allowed for all files of an artifact or an export together."),
    ] = None,
    base: Annotated[
        Path | None, typer.Option(help="What --json printed before: shows what changed since.")
    ] = None,
    format_: Annotated[
        Format,
        typer.Option("--format", help="md: for a pull request; badge: JSON for shields.io."),
    ] = Format.table,
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
    (`limits.folder`). Of an export, all files count.
    """
    from engine.cli.tables import print_warning

    _check_together(format_, json=json, tensors=tensors, models=len(paths))
    allowed = parse_limit("--limit", limit)
    allowed_folder = parse_limit("--folder-limit", folder_limit)
    before = None if base is None else _read_base(base)
    with without_collections():
        reports = [
            _report(path, allowed, allowed_folder, overrides or [], meta=meta) for path in paths
        ]
        _print(reports, before, format_, json=json, tensors=tensors)
    excesses = [excess for report in reports if (excess := report.excess())]
    for excess in excesses:
        print_warning(excess)
    if excesses:
        raise typer.Exit(1)


def _read_base(path: Path) -> Base:
    from engine.cli.size_renderers import read_base

    return read_base(path)


def _check_together(format_: Format, *, json: bool, tensors: bool, models: int) -> None:
    from engine.errors import ConfigError

    if format_ is not Format.table and (json or tensors):
        other = "--json" if json else "--tensors"
        raise ConfigError(f"--format {format_} and {other} exclude each other", hint="give one")
    if format_ is Format.badge and models != 1:
        raise ConfigError(
            f"--format badge shows one model, and {models} were given",
            hint="one call for each badge; --format md shows several models",
        )


def parse_limit(option: str, text: str | None) -> int | None:
    """``25MB`` -> bytes; ``None`` stays.

    Raises:
        ConfigError: it is not a number of bytes, or has no unit.
    """
    from engine.contracts.values import parse_bytes
    from engine.errors import ConfigError

    if text is None:
        return None
    if text.strip().isdecimal():
        number = text.strip()
        raise ConfigError(
            f"{option} {number} has no unit",
            hint=f"write {option} {number}MB for 10^6 bytes each, or {number}B for bytes",
        )
    try:
        value = parse_bytes(text)
    except ValueError as error:
        raise ConfigError(f"{option} {text}: {error}") from error
    assert isinstance(value, int)
    return value


def _report(
    path: Path, limit: int | None, folder_limit: int | None, overrides: list[str], *, meta: bool
) -> SizeReport:
    from engine.errors import ConfigError

    folder = path.is_dir() or _is_checkpoint(path)
    report = _of_folder(path, limit) if folder else _of_config(path, limit, overrides, meta=meta)
    report = replace(report, path=path.as_posix())
    if folder_limit is None:
        return report
    if report.folder is None:
        raise ConfigError(
            f"--folder-limit: {path} is a config, whose folder is not written yet",
            hint="`limits.folder` in the config holds it when it is built",
        )
    return replace(report, folder_limit=folder_limit)


def _is_checkpoint(path: Path) -> bool:
    """Whether a path is ``RUN@best`` or the like."""
    if "@" not in path.name or path.exists():
        return False
    from engine.core.model_path import model_folder

    return model_folder(path).is_dir()


def _of_folder(path: Path, limit: int | None) -> SizeReport:
    """The size of an artifact, a training run's model or an export."""
    from engine.core.artifact import is_artifact
    from engine.core.model_path import model_folder
    from engine.core.size import artifact_size
    from engine.errors import ConfigError
    from engine.exchange.exported import export_size, is_export

    if is_artifact(model_folder(path)):
        return artifact_size(path, limit)
    if is_export(path):
        return export_size(path, limit)
    raise ConfigError(
        f"{path} is a folder and no artifact", hint="name a config, an artifact or an export"
    )


def _of_config(path: Path, limit: int | None, overrides: list[str], *, meta: bool) -> SizeReport:
    """The size of a config's model.

    Raises:
        ConfigError: a package is missing that a part without a plan needs.
    """
    from engine.core.config import load_config
    from engine.core.size import config_size
    from engine.errors import ConfigError

    config = load_config(path, overrides)
    try:
        return config_size(config, limit, meta=meta)
    except ModuleNotFoundError as error:
        why = "--meta builds the model" if meta else "a part of this model has no plan of its bytes"
        raise ConfigError(
            f"{path}: {why}, which needs the package {error.name}, and it is not installed",
            hint="install Engine with its dependencies: pip install engine-towers",
        ) from error


def _print(
    reports: list[SizeReport], before: Base | None, format_: Format, *, json: bool, tensors: bool
) -> None:
    from engine.cli.tables import size_table, stdout, tensor_table
    from engine.core.terminal import print_json

    changes = [None if before is None else before.of(report, len(reports)) for report in reports]
    if json:
        rows = [report.to_json(tensors=tensors) for report in reports]
        if before is not None:
            for row, change in zip(rows, changes, strict=True):
                row["base_bytes"] = None if change is None else change.bytes
        print_json({"models": rows})
        return
    if format_ is not Format.table:
        _print_form(reports, changes, format_, compared=before is not None)
        return
    if len(reports) == 1:
        stdout().print(size_table(reports[0]))
    else:
        _print_many(reports)
    if before is not None:
        from engine.cli import size_renderers

        for report, change in zip(reports, changes, strict=True):
            stdout().print(
                f"{report.name}: {size_renderers.change_of(report, change)}", markup=False
            )
    if tensors:
        for report in reports:
            stdout().print(tensor_table(report))


def _print_form(
    reports: list[SizeReport],
    changes: list[BaseModelSize | None],
    format_: Format,
    *,
    compared: bool,
) -> None:
    from engine.cli import size_renderers
    from engine.core.terminal import print_json

    if format_ is Format.badge:
        print_json(size_renderers.badge(reports[0]))
    else:
        typer.echo(size_renderers.markdown(reports, changes, compared=compared))


def _print_many(reports: list[SizeReport]) -> None:
    from rich.table import Table

    from engine.cli.tables import stdout, verdict

    table = Table()
    for name in ("model", "parameters", "buffers", "bytes"):
        table.add_column(name, justify="left" if name == "model" else "right")
    table.add_column("limit")
    for report in reports:
        numbers = (report.num_parameters, report.num_buffers)
        counts = [f"{count:,}" if report.counted else "" for count in numbers]
        table.add_row(report.name, *counts, f"{report.total:,}", verdict(report))
    stdout().print(table)
