"""A chart: how it is drawn, its legend, and the forms in which it is given."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from markupsafe import Markup

from engine.core.files import write_pieces
from engine.errors import DataError
from engine.report.colours import LIGHT
from engine.report.inline import inline
from engine.report.shell import fragment, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("svg", "pdf", "png")
"""What :meth:`Chart.save` writes, by the end of the file's name."""

_POINTS = 72  # an SVG of matplotlib has 72 units to the inch: one unit is one pixel of a page
_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text: it is smaller, and the page's font shows it
    "svg.hashsalt": "engine",  # the same chart has the same bytes
    "pdf.fonttype": 42,  # TrueType: journals refuse Type 3
    "text.parse_math": False,  # a name may hold dollar signs
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib; knows Cyrillic and Greek
    "font.size": 11.5,
    "axes.edgecolor": LIGHT["line"],
    "axes.labelcolor": LIGHT["soft"],
    "axes.titlecolor": LIGHT["soft"],
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": LIGHT["line"],
    "grid.linewidth": 0.8,
    "xtick.color": LIGHT["soft"],
    "ytick.color": LIGHT["soft"],
    "xtick.bottom": False,
    "ytick.left": False,
    "lines.solid_joinstyle": "round",
    "path.simplify_threshold": 0.3,
}


@dataclass(frozen=True)
class Key:
    """A line of the legend.

    Attributes:
        name: what it stands for.
        css: its colour within a page.
        light: its colour in a file.
        shape: ``line``, ``dashed`` or ``box``.
    """

    name: str
    css: str
    light: str
    shape: str = "line"


@dataclass
class Drawing:
    """What a chart draws on.

    Attributes:
        figure: matplotlib's.
        axes: matplotlib's.
        titles: by the gid of an artist, what its marks show under the pointer.
        own: by the gid of an artist, its CSS class and its CSS colour.
    """

    figure: Figure
    axes: Axes
    titles: dict[str, list[str]] = field(default_factory=dict)
    own: dict[str, tuple[str, str]] = field(default_factory=dict)


@dataclass
class Chart:
    """A chart that is drawn when it is printed or saved.

    Attributes:
        draw: draws it.
        label: what it shows, for screen readers.
        x: title of the x axis.
        y: title of the y axis, shown above the axis so that it takes no width.
        keys: the legend, which stands below the chart and covers nothing.
        width: in pixels.
        height: in pixels.
        kind: a CSS class of the figure.
    """

    draw: Callable[[Drawing], None]
    label: str
    x: str
    y: str
    keys: Sequence[Key]
    width: int
    height: int
    kind: str = ""

    def __html__(self) -> str:
        """The chart as a ``<figure>`` with inline SVG, for a template."""
        return str(self._markup)

    def __str__(self) -> str:
        """The same, as plain text."""
        return str(self._markup)

    @cached_property
    def _markup(self) -> Markup:
        with self._drawn(legend=False) as drawing:
            svg = _saved(drawing.figure, "svg")
        shown = inline(svg, plain(self.label), drawing.titles, drawing.own)
        return fragment("engine.report/chart.html", svg=shown, keys=self.keys, kind=self.kind)

    def save(self, path: Path) -> None:
        """Write the chart as a file of its own, in light colours, whole or not at all.

        Args:
            path: ends in ``.svg``, ``.pdf`` or ``.png``.

        Raises:
            DataError: the name ends otherwise.
            OSError: the file cannot be written.
        """
        kind = path.suffix.lower().lstrip(".")
        if kind not in FORMATS:
            raise DataError(
                f"{path}: a chart is written as {', '.join(FORMATS[:-1])} or {FORMATS[-1]}",
                hint="end the file's name in one of these",
            )
        with self._drawn(legend=True) as drawing:
            write_pieces(path, [_saved(drawing.figure, kind)])

    @contextmanager
    def _drawn(self, *, legend: bool) -> Iterator[Drawing]:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        with matplotlib.rc_context(cast("Any", _SETTINGS)), _quiet():
            figure = Figure(figsize=(self.width / _POINTS, self.height / _POINTS), dpi=_POINTS,
                            layout="constrained", facecolor="none")  # fmt: skip
            logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
            FigureCanvasAgg(figure)  # it measures words; savefig takes the format's own
            axes = figure.subplots()
            axes.set_facecolor("none")
            axes.set_xlabel(plain(self.x))
            axes.set_title(plain(self.y))
            drawing = Drawing(figure, axes)
            self.draw(drawing)
            if legend and self.keys:
                _legend(figure, self.keys)
            yield drawing


@contextmanager
def _quiet() -> Iterator[None]:
    """Warnings that mean nothing here stay unsaid.

    A character that the font lacks is measured as a box, and the page's own font shows it. Numbers
    near the ends of floating point overflow within matplotlib's ticks; the marks are drawn.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        warnings.filterwarnings("ignore", message="overflow encountered", category=RuntimeWarning)
        yield


_STYLES: dict[str, Any] = {"line": "-", "dashed": "--", "box": ""}


def _legend(figure: Figure, keys: Sequence[Key]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=key.light, label=plain(key.name, 60),
               linestyle=_STYLES[key.shape],
               marker="o" if key.shape == "box" else "")
        for key in keys
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower left", ncols=min(3, len(keys)),
                  frameon=False, labelcolor=LIGHT["ink"])  # fmt: skip


def _saved(figure: Figure, kind: str) -> bytes:
    file = io.BytesIO()
    metadata: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
    figure.savefig(file, format=kind, metadata=metadata, dpi=200 if kind == "png" else _POINTS,
                   transparent=kind != "png")  # fmt: skip
    return file.getvalue()
