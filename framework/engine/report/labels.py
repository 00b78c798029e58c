"""Words beside dots, placed so that none covers another word or a dot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from engine.report.chart import Drawing
from engine.report.colours import LIGHT
from engine.report.shell import plain

if TYPE_CHECKING:
    from matplotlib.transforms import Bbox


class Labelled(Protocol):
    """Dots with words; see :class:`engine.report.charts.Dots`."""

    @property
    def points(self) -> Sequence[tuple[float, float]]:
        """The places, in the units of the axes."""

    @property
    def labels(self) -> Sequence[str]:
        """The words of each dot; empty for none."""

    @property
    def radius(self) -> float:
        """Of a dot, in pixels."""

    @property
    def kind(self) -> str:
        """The CSS class."""


LONGEST = 28
"""Characters of a label."""

_SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))


def place_labels(drawing: Drawing, groups: Sequence[Labelled], *, inside: bool) -> None:
    """Write the labels of all groups; one that finds no free place is left out.

    Args:
        drawing: what they are written on; the dots are drawn already.
        groups: dots with words.
        inside: whether words may stand on dots (a map of clouds), but not on other words.
    """
    from matplotlib.transforms import Bbox

    axes, figure = drawing.axes, drawing.figure
    if not any(label for group in groups for label in group.labels):
        return
    figure.draw_without_rendering()  # the layout, without which no place is known
    canvas: Any = figure.canvas  # FigureCanvasAgg, whose get_renderer has no types
    renderer = canvas.get_renderer()
    frame = axes.get_window_extent(renderer)
    taken: list[Bbox] = []
    if not inside:
        for group in groups:
            for point in group.points:
                x, y = axes.transData.transform(point)
                r = group.radius
                taken.append(Bbox.from_extents(x - r, y - r, x + r, y + r))
    for number, group in enumerate(groups):
        for place, (point, label) in enumerate(zip(group.points, group.labels, strict=False)):
            if not label:
                continue
            written = axes.annotate(
                plain(label, LONGEST), point, xytext=(0, 0), textcoords="offset pixels",
                fontsize=12.5 if inside else 10, color=LIGHT["ink"], zorder=4,
                fontweight="semibold" if inside else "normal", gid=f"label{number}-{place}",
                annotation_clip=False,
            )  # fmt: skip
            drawing.own[f"label{number}-{place}"] = (f"label {group.kind}".strip(), "")
            size = written.get_window_extent(renderer)
            x, y = axes.transData.transform(point)
            for dx, dy in _offsets(size.width, size.height, group.radius + 3, inside=inside):
                box = Bbox.from_bounds(x + dx, y + dy, size.width, size.height)
                fits = frame.x0 <= box.x0 and box.x1 <= frame.x1 + 4 and box.y1 <= frame.y1 + 4
                if fits and box.y0 >= frame.y0 and not any(box.overlaps(other) for other in taken):
                    written.set_position((dx, dy))
                    taken.append(box)
                    break
            else:
                written.remove()


def _offsets(
    width: float, height: float, gap: float, *, inside: bool
) -> Iterator[tuple[float, float]]:
    """Where the lower left corner of a label may lie, seen from its dot, best first."""
    if inside:
        for step in (0, 1, -1, 2, -2, 3, -3):
            for across in (-0.5, -0.85, -0.15):
                yield across * width, -height / 2 + step * height
        return
    for far in (1.0, 2.2, 4.0):
        for across, up in _SIDES:
            x = {1: gap * far, 0: -width / 2, -1: -width - gap * far}[across]
            y = {1: gap * far, 0: -height / 2, -1: -height - gap * far}[up]
            yield x, y
