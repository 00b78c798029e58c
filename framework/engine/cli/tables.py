"""Tables and messages that several commands print."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.core import terminal

if TYPE_CHECKING:
    from engine.core.size import PartSize, SizeReport


def stdout() -> Console:
    """The console of results."""
    return terminal.console()


def print_warning(message: str) -> None:
    """A loud line on stderr."""
    console = terminal.console(stderr=True, soft_wrap=True)
    console.print(Text("WARNING ", style="bold black on yellow") + Text(" " + message))


def human(count: int) -> str:
    """Bytes for people: ``605.2 MB`` (10^6, as limits are written)."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count} B"


def verdict(report: SizeReport) -> Text:
    """Whether the limits are kept, in words."""
    weights = _verdict(report.total, report.limit)
    if report.folder is None or report.folder_limit is None:
        return weights
    folder = _verdict(report.folder, report.folder_limit)
    return Text.assemble(weights, "; folder: ", folder)


def _verdict(bytes_: int, limit: int | None) -> Text:
    if limit is None:
        return Text("no limit", style="dim")
    if bytes_ > limit:
        return Text(f"over {human(limit)} by {human(bytes_ - limit)}", style="bold red")
    share = bytes_ / limit if limit else 1.0
    return Text(f"{share:.1%} of {human(limit)}", style="green")


def tensor_table(report: SizeReport) -> Table:
    """Every tensor of one model: its shape, its storage, its bytes."""
    table = Table(title=f"{report.name}: tensors", title_justify="left", title_style="bold")
    table.add_column("tensor", overflow="fold")
    table.add_column("shape", justify="right")
    table.add_column("storage")
    table.add_column("bytes", justify="right")
    for tensor in report.tensors:
        shape = " x ".join(map(str, tensor.shape)) or "a number"
        table.add_row(Text(tensor.name), shape, tensor.storage, f"{tensor.bytes:,}")
    return table


def size_table(report: SizeReport, origins: Mapping[str, str] | None = None) -> Table:
    """Parts, numbers and bytes of one model; buffers where it stores some."""
    table = Table(title=report.name, title_justify="left", title_style="bold")
    table.add_column("part", overflow="fold")
    table.add_column("plugin", overflow="fold")
    table.add_column("parameters", justify="right", no_wrap=True)  # a number is never cut
    if report.num_buffers:
        table.add_column("buffers", justify="right", no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("storage")
    if origins is not None:
        table.add_column("weights")

    def counts(of: SizeReport | PartSize) -> list[str]:
        buffers = [f"{of.num_buffers:,}"] if report.num_buffers else []
        return [f"{of.num_parameters:,}" if report.counted else "", *buffers]

    for part in report.parts:
        storages = sorted(part.storage, key=lambda name: -part.storage[name])
        row = [part.name, part.plugin, *counts(part), f"{part.bytes:,}",
               f"{part.bytes / (report.total or 1):.1%}", ", ".join(storages)]  # fmt: skip
        table.add_row(*row, *([] if origins is None else [origins.get(part.name, "")]))
    blank = [""] * len(counts(report))
    if report.header:  # none is counted of an export
        share = f"{report.header / report.total:.1%}"
        table.add_row("header", "", *blank, f"{report.header:,}", share)
    table.add_section()
    last = ["total", "", *counts(report), f"{report.total:,}", "", ""]
    table.add_row(*last, *([] if origins is None else [""]), style="bold")
    table.caption = Text.assemble(
        human(report.total), " of weights: " if report.counted else " of files: ", verdict(report)
    )
    table.caption_justify = "left"
    return table
