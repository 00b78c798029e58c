"""The tables of ``engine bench compare``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from engine.bench.compare import Compared
    from engine.contracts.metric import Value


def compare_table(compared: Compared) -> Table:
    """Both on each data set, and the difference of the means."""
    from rich.table import Table

    table = Table(caption="p of each data set: McNemar's exact test", caption_justify="left")
    table.add_column("data set")
    for name in ("images", "chance", compared.a.name, compared.b.name, "difference",
                 "only the first", "only the second", "p"):  # fmt: skip
        table.add_column(name, justify="right")
    for each in compared.datasets:
        table.add_row(
            each.name, f"{each.images:,}", _percent(each.chance), f"{each.a:.2f}", f"{each.b:.2f}",
            f"{each.a - each.b:+.2f}", f"{each.only_a:,}", f"{each.only_b:,}", f"{each.p:.2g}",
        )  # fmt: skip
    table.add_section()
    mean = compared.mean
    table.add_row(
        "mean", "", "", "", "", f"{mean.value:+.2f} ({mean.low:+.2f} .. {mean.high:+.2f})", "", "",
        f"{mean.p:.2g}", style="bold",
    )  # fmt: skip
    return table


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def metrics_table(compared: Compared) -> Table:
    """Every metric over the data sets, the better one bold."""
    from rich.table import Table
    from rich.text import Text

    table = Table(
        caption="Over all data sets; 95 % intervals; p: paired test of each metric by itself,"
        " then corrected (Holm) for the number of metrics",
        caption_justify="left",
    )
    table.add_column("metric")
    for name in (compared.a.name, compared.b.name, "difference", "p", "corrected"):
        table.add_column(name, justify="right")
    for each in compared.metrics:
        digits = each.declaration.digits + 1

        def words(value: Value, side: str, digits: int = digits, better: str = each.better) -> Text:
            low, high = value.interval or (None, None)
            interval = "" if low is None else f" ({low:.{digits}f} .. {high:.{digits}f})"
            style = "bold" if better == side else ""
            return Text(f"{value.value:.{digits}f}{interval}", style=style)

        table.add_row(
            Text(each.declaration.title), words(each.a, "a"), words(each.b, "b"),
            f"{each.difference:+.{digits}f}{_between(each.interval, digits)}",
            *("" if p is None else f"{p:.2g}" for p in (each.p, each.corrected)),
        )  # fmt: skip
    return table


def _between(interval: tuple[float, float] | None, digits: int) -> str:
    return "" if interval is None else f" ({interval[0]:+.{digits}f} .. {interval[1]:+.{digits}f})"
