"""Charts that compare: differences with their intervals, and which class got which answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.report.chart import Chart, Drawing, Key
from engine.report.colours import LIGHT
from engine.report.shell import plain

MAX_NAMES = 40
"""Rows and columns of a heat chart above which they are drawn without their names."""


@dataclass(frozen=True)
class IntervalRow:
    """A value with its interval, on a row of its own.

    Attributes:
        name: of the row.
        value: where the dot is.
        low: where the line begins.
        high: where it ends.
        certain: whether it is drawn as a filled dot; an open one is not significant.
    """

    name: str
    value: float
    low: float
    high: float
    certain: bool = True


def interval_chart(
    rows: Sequence[IntervalRow], *, label: str, x: str, open_name: str = "", width: int = 560
) -> Chart:
    """A forest plot: a dot and a line for each row, and a dotted line at 0.

    Args:
        rows: from the top.
        label: what the chart shows, for screen readers.
        x: title of the axis, with its unit.
        open_name: what an open dot means, in the legend; empty for none.
        width: in pixels.
    """

    def draw(drawing: Drawing) -> None:
        axes = drawing.axes
        axes.axvline(0, color=LIGHT["ink"], linewidth=1.2, linestyle=(0, (1, 2)))
        for place, row in enumerate(rows):
            axes.plot([row.low, row.high], [place, place], color=LIGHT["c0"], linewidth=1.8)
            axes.plot(
                [row.value], [place], marker="o", markersize=6, color=LIGHT["c0"],
                markerfacecolor=LIGHT["c0"] if row.certain else "white",
            )  # fmt: skip
        axes.set_yticks(range(len(rows)), [plain(row.name, 60) for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x", color=LIGHT["line"], linewidth=0.8)

    keys = [Key(open_name, "var(--ink)", LIGHT["ink"], "dashed")] if open_name else []
    return Chart(draw, label, x, "", keys, width, 70 + 24 * len(rows))


def heat_chart(
    names: Sequence[str],
    shares: Sequence[Sequence[float]],
    *,
    label: str,
    x: str,
    y: str,
    size: int = 560,
) -> Chart:
    """A square of cells, white for 0 and dark for 1.

    Args:
        names: of the rows and of the columns.
        shares: for each row its cells, 0 to 1.
        label: what the chart shows, for screen readers.
        x: what the columns are.
        y: what the rows are.
        size: width and height in pixels.
    """

    def draw(drawing: Drawing) -> None:
        from matplotlib.colors import LinearSegmentedColormap

        axes = drawing.axes
        colours = LinearSegmentedColormap.from_list("shares", ["#ffffff", LIGHT["c0"]])
        mesh = axes.pcolormesh(shares, cmap=colours, vmin=0, vmax=1, linewidth=0, rasterized=True)
        axes.set_ylim(len(names), 0)
        axes.set_aspect("equal")
        axes.grid(visible=False)
        if len(names) <= MAX_NAMES:
            places = [place + 0.5 for place in range(len(names))]
            shown = [plain(name, 24) for name in names]
            small = 11.5 if len(names) <= 12 else 7.5
            axes.set_xticks(places, shown, rotation=90, fontsize=small)
            axes.set_yticks(places, shown, fontsize=small)
        bar = drawing.figure.colorbar(mesh, ax=axes, shrink=0.7)
        bar.outline.set_visible(False)  # type: ignore[operator]
        bar.ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")

    return Chart(draw, label, x, y, [], size, size)
