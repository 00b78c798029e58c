"""Pages and charts: one page shell, one stylesheet and one chart library for everything shown.

Every room that writes an HTML page calls it: the statistics of texts, clusters, galleries, curves,
the leaderboard. Start reading in ``shell.py`` (pages) and ``charts.py`` (charts).
"""

from engine.report.about import About, about
from engine.report.shell import fragment, page, picture, render, table
from engine.report.words import human, percent, size

__all__ = [
    "About",
    "about",
    "fragment",
    "human",
    "page",
    "percent",
    "picture",
    "render",
    "size",
    "table",
]
