"""Static charts for pages and papers, drawn by matplotlib.

Each function gives a :class:`Chart`. A template prints it (``{{ chart }}``) as inline SVG with its
legend below, in the colours of the page, light or dark; :meth:`Chart.save` writes it as a file of
its own, SVG or PDF, for a paper. Drawn for a card of about 420 pixels, so that it stays readable on
a phone. Numbers that are not finite are left out: a line has a gap there.

    chart = line_chart([Series("loss", points)], label="Loss by step", x="step", y="loss")
    page("run 7", [chart], about=about(config="little.yaml"))
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.report.chart import Chart, Drawing, Key
from engine.report.colours import LIGHT, SERIES
from engine.report.labels import place_labels
from engine.report.shell import plain
from engine.report.words import human, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Point = tuple[float, float]

MAX_CATEGORIES = 9
"""Categories of a bar chart above which some go without their name below the axis."""


@dataclass(frozen=True)
class Series:
    """One line.

    Attributes:
        name: in the legend; empty for a line that needs none.
        points: x and y, in the order of x.
        dashed: whether it is a reference beside what was measured.
    """

    name: str
    points: Sequence[Point]
    dashed: bool = False


@dataclass(frozen=True)
class Level:
    """A dotted line at a height that means something, such as chance.

    Attributes:
        value: the height.
        name: in the legend.
    """

    value: float
    name: str


@dataclass(frozen=True)
class Border:
    """A vertical line with words at its top, such as the begin of a stage.

    Attributes:
        at: the place on the x axis.
        name: the words, to the right of the line.
    """

    at: float
    name: str = ""


@dataclass(frozen=True)
class Dots:
    """Dots of one colour.

    Attributes:
        name: in the legend; empty for none.
        points: x and y of each.
        titles: what each shows under the pointer; empty for none.
        labels: words beside each dot, placed so that none covers another; an empty one is left out.
        kind: the CSS class of the group within a page.
        colour: a CSS colour within a page; by default the next of the stylesheet.
        radius: of a dot, in pixels.
        opacity: of its dots.
    """

    name: str
    points: Sequence[Point]
    titles: Sequence[str] = ()
    labels: Sequence[str] = ()
    kind: str = ""
    colour: str = ""
    radius: float = 4.0
    opacity: float = 1.0


def line_chart(
    series: Sequence[Series],
    *,
    label: str,
    x: str = "",
    y: str = "",
    levels: Sequence[Level] = (),
    borders: Sequence[Border] = (),
    scale: str = "",
    zero: bool = False,
    height: int = 230,
    width: int = 420,
) -> Chart:
    """Lines over a common axis.

    Args:
        series: at least one with a point.
        label: what the chart shows, for screen readers.
        x: title of the axis, with its unit.
        y: title of the axis, with its unit.
        levels: heights that mean something.
        borders: places on the x axis that mean something.
        scale: ``"%"`` for values from 0 to 100, always drawn from 0 to 100; ``"log"`` for a
            logarithmic axis, on which values of 0 and below are left out.
        zero: whether the y axis begins at 0.
        height: in pixels, at the width of ``width``.
        width: in pixels.
    """

    def draw(drawing: Drawing) -> None:
        axes = drawing.axes
        axes.set_xmargin(0.01)
        for number, each in enumerate(series):
            points = [(a, b if _drawable(b, scale) else math.nan) for a, b in each.points]
            colour = LIGHT["soft" if each.dashed else SERIES[number % len(SERIES)]]
            alone = len(points) == 1
            axes.plot(
                [a for a, _ in points], [b for _, b in points], color=colour,
                linewidth=1.5 if each.dashed else 1.8, marker="o" if alone else "", markersize=5,
                linestyle=(0, (4, 3)) if each.dashed else "-",
            )  # fmt: skip
        for each_level in levels:
            axes.axhline(each_level.value, color=LIGHT["ink"], linewidth=1.2, linestyle=(0, (1, 2)))
        for border in borders:
            axes.axvline(border.at, color=LIGHT["soft"], linewidth=0.8, linestyle=(0, (3, 3)))
        _scaled(axes, scale, zero=zero)
        _named_borders(drawing, borders)

    keys = [
        Key(each.name, f"var(--{'soft' if each.dashed else SERIES[number % len(SERIES)]})",
            LIGHT["soft" if each.dashed else SERIES[number % len(SERIES)]],
            "dashed" if each.dashed else "line")
        for number, each in enumerate(series) if each.name
    ]  # fmt: skip
    keys += [Key(each.name, "var(--ink)", LIGHT["ink"], "dashed") for each in levels]
    shown = keys if len(keys) > 1 or levels else []
    return Chart(draw, label, x, y, shown, width, height)


def bar_chart(
    bars: Sequence[tuple[str, float]],
    *,
    label: str,
    x: str = "",
    y: str = "",
    titles: Sequence[str] = (),
    shares: bool = False,
    height: int = 210,
    width: int = 420,
) -> Chart:
    """Upright bars, such as a histogram.

    Args:
        bars: the name below each bar, and its height.
        label: what the chart shows, for screen readers.
        x: title of the axis.
        y: title of the axis, with its unit.
        titles: what each bar shows under the pointer; by default its name and height.
        shares: heights are shares (0 to 1), shown in percent.
        height: in pixels, at the width of ``width``.
        width: in pixels.
    """

    def draw(drawing: Drawing) -> None:
        axes = drawing.axes
        heights = [value if math.isfinite(value) else 0.0 for _, value in bars]
        drawn = axes.bar(range(len(bars)), heights, color=LIGHT["bar"], width=0.86)
        named = titles or [
            f"{name}: {percent(value) if shares else human(value)}" for name, value in bars
        ]
        for number, (bar, title) in enumerate(zip(drawn, named, strict=True)):
            bar.set_gid(f"bar{number}")
            drawing.titles[f"bar{number}"] = [plain(title)]
        every = math.ceil(len(bars) / MAX_CATEGORIES)
        last = len(bars) - 1
        shown = [i for i in range(len(bars)) if i == last or (i % every == 0 and last - i >= every)]
        axes.set_xticks(shown, [plain(bars[i][0], 24) for i in shown])
        axes.set_xlim(-0.6, len(bars) - 0.4)
        axes.set_ylim(0, (max(heights, default=0) or 1) * 1.06)
        if shares:
            axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g}%")
        else:
            axes.yaxis.set_major_formatter(lambda value, _: human(value))

    return Chart(draw, label, x, y, [], width, height)


def scatter_chart(
    groups: Sequence[Dots],
    *,
    label: str,
    x: str = "",
    y: str = "",
    scale: str = "",
    log_x: bool = False,
    levels: Sequence[Level] = (),
    borders: Sequence[Border] = (),
    line: Sequence[Point] = (),
    bare: bool = False,
    height: int = 300,
    width: int = 420,
) -> Chart:
    """Dots in groups.

    Args:
        groups: in the order in which they are drawn.
        label: what the chart shows, for screen readers.
        x: title of the axis, with its unit.
        y: title of the axis, with its unit.
        scale: of the y axis; see :func:`line_chart`. ``"percent"``: values are in percent, drawn
            as far as they reach.
        log_x: whether the x axis is logarithmic.
        levels: heights that mean something.
        borders: places on the x axis that mean something.
        line: points of a line behind the dots, such as a front.
        bare: without axes, for a map whose places have no unit.
        height: in pixels, at the width of ``width``.
        width: in pixels.
    """

    def draw(drawing: Drawing) -> None:
        axes = drawing.axes
        if log_x:
            axes.set_xscale("log")
        if line:
            axes.plot(*zip(*line, strict=True), color=LIGHT["bar"], linewidth=1.6, zorder=1)
        for number, group in enumerate(groups):
            _dots(drawing, number, group)
        for level in levels:
            axes.axhline(level.value, color=LIGHT["ink"], linewidth=1.2, linestyle=(0, (1, 2)))
        for border in borders:
            axes.axvline(border.at, color=LIGHT["soft"], linewidth=0.8, linestyle=(0, (3, 3)))
        if bare:
            axes.set_axis_off()
        else:
            axes.margins(0.06, 0.1)
            _scaled(axes, scale, zero=False)
        _named_borders(drawing, borders)
        place_labels(drawing, groups, inside=bare)

    keys = [
        Key(group.name, group.colour or f"var(--{SERIES[number % len(SERIES)]})",
            LIGHT[SERIES[number % len(SERIES)]], "box")
        for number, group in enumerate(groups) if group.name
    ]  # fmt: skip
    keys += [Key(each.name, "var(--ink)", LIGHT["ink"], "dashed") for each in levels]
    shown = keys if len(keys) > 1 or levels else []
    return Chart(draw, label, x, y, shown, width, height, "map" if bare else "")


def _dots(drawing: Drawing, number: int, group: Dots) -> None:
    if not group.points:
        return
    name = f"group{number}"
    drawing.axes.scatter(
        [a for a, _ in group.points], [b for _, b in group.points], s=(2 * group.radius) ** 2,
        color=LIGHT[SERIES[number % len(SERIES)]], alpha=group.opacity, linewidths=0, gid=name,
        zorder=2, clip_on=False,
    )  # fmt: skip
    if group.titles:
        drawing.titles[name] = [plain(title) for title in group.titles]
    if group.colour or group.kind:
        colour = group.colour or f"var(--{SERIES[number % len(SERIES)]})"
        drawing.own[name] = (group.kind, colour)


def _drawable(value: float, scale: str) -> bool:
    return math.isfinite(value) and (scale != "log" or value > 0)


def _scaled(axes: Axes, scale: str, *, zero: bool) -> None:
    """The y axis: its limits and how its numbers are written."""
    if axes.get_xscale() == "log":
        axes.xaxis.set_minor_formatter(lambda value, _: "")
    axes.xaxis.set_major_formatter(lambda value, _: _tick(value))
    if scale == "log":
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(lambda value, _: "")
    elif scale in ("%", "percent"):
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}%")
        if scale == "%":
            axes.set_ylim(0, 100)
        return
    else:
        low, high = axes.get_ylim()
        if zero or 0 <= low < 0.05 * high:
            axes.set_ylim(min(0.0, low) if low < 0 else 0.0, high)
    axes.yaxis.set_major_formatter(lambda value, _: _tick(value))


def _tick(value: float) -> str:
    return f"{value:g}" if abs(value) < 10_000 else human(value)


def _named_borders(drawing: Drawing, borders: Sequence[Border]) -> None:
    """The words of borders, above the axes; one that would run into the next is cut."""
    axes = drawing.axes
    places = sorted(borders, key=lambda each: each.at)
    right: Any = axes.get_xlim()[1]
    ends = [*(border.at for border in places), right][1:]
    for border, following in zip(places, ends, strict=True):
        low, high = (axes.transData.transform((a, 0))[0] for a in (border.at, following))
        room = int((high - low) / 6.4)
        if border.name and room >= 3:
            axes.annotate(
                plain(border.name, room), (border.at, 1), xycoords=axes.get_xaxis_transform(),
                xytext=(-1, 4), textcoords="offset points", color=LIGHT["soft"], fontsize=9.5,
            )  # fmt: skip
            axes.set_title(axes.get_title(loc="left"), loc="left", pad=20)
