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
    """Whether the limit is kept, in words."""
    if report.limit is None:
        return Text("no limit", style="dim")
    if report.over:
        return Text(f"over {human(report.limit)} by {human(report.over)}", style="bold red")
    return Text(f"{report.total / report.limit:.1%} of {human(report.limit)}", style="green")


def size_table(report: SizeReport, origins: Mapping[str, str] | None = None) -> Table:
    """Parts, numbers and bytes of one model; buffers where it stores some."""
    table = Table(title=report.name, title_justify="left", title_style="bold")
    table.add_column("part")
    table.add_column("plugin")
    table.add_column("parameters", justify="right")
    if report.num_buffers:
        table.add_column("buffers", justify="right")
    table.add_column("bytes", justify="right")
    table.add_column("share", justify="right")
    if origins is not None:
        table.add_column("weights")

    def counts(of: SizeReport | PartSize) -> list[str]:
        buffers = [f"{of.num_buffers:,}"] if report.num_buffers else []
        return [f"{of.num_parameters:,}", *buffers]

    for part in report.parts:
        row = [part.name, part.plugin, *counts(part), f"{part.bytes:,}",
               f"{part.bytes / report.total:.1%}"]  # fmt: skip
        table.add_row(*row, *([] if origins is None else [origins.get(part.name, "")]))
    blank = [""] * len(counts(report))
    table.add_row("header", "", *blank, f"{report.header:,}", f"{report.header / report.total:.1%}")
    table.add_section()
    last = ["total", "", *counts(report), f"{report.total:,}", ""]
    table.add_row(*last, *([] if origins is None else [""]), style="bold")
    table.caption = Text.assemble(human(report.total), " of weights: ", verdict(report))
    table.caption_justify = "left"
    return table
