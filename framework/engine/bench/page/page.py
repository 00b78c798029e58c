"""The whole page: data, script and style in one HTML file.

The script builds everything from the data with DOM calls that take text as text. The page's policy
allows that very script and that very style, by their digests, pictures in ``data:`` and nothing
else: no network, no code that data could bring in.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path

from engine.bench.formatting import number, size
from engine.bench.leaderboard import Leaderboard, Row
from engine.bench.page.payload import embed, payload
from engine.bench.page.pictures import Picture, choose
from engine.bench.results import EntryAnswers
from engine.core.files import write_text

SCRIPTS = (
    "core", "parts", "chart", "labels", "columns", "leaderboard", "pairs", "datasets", "confusion",
    "mistakes", "entry", "calibration", "main",
)  # fmt: skip
"""Files of the script, in order; together they are one function."""

STYLES = ("style", "sections")


def write_page(
    path: Path, leaderboard: Leaderboard, answers: Mapping[str, EntryAnswers], picture: Picture
) -> None:
    """Write the page, whole or not at all.

    Args:
        path: the HTML file.
        leaderboard: what it shows.
        answers: of each entry's first seed, by entry; an entry without them has no confusions and
            no mistakes.
        picture: data set and image id -> the image, or ``None``. It is asked only for what the page
            shows.

    Raises:
        DataError: answers speak of other classes than the leaderboard.
        OSError: it cannot be written.
    """
    write_text(path, page(leaderboard, answers, picture))


def page(leaderboard: Leaderboard, answers: Mapping[str, EntryAnswers], picture: Picture) -> str:
    """The page as HTML; see :func:`write_page`."""
    data = embed(payload(leaderboard, answers, choose(answers, picture)))
    script, style = _script(), _style()
    policy = (
        "default-src 'none'; img-src data:;"
        f" script-src '{_digest(script)}'; style-src '{_digest(style)}';"
        " base-uri 'none'; form-action 'none'"
    )
    title = escape(f"{leaderboard.suite}: leaderboard")
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        '<link rel="icon" href="data:,">',
        f"<title>{title}</title><style>{style}</style></head><body>",
        f"<noscript>{_plain(leaderboard)}</noscript>",
        f'<script type="application/json" id="data">{data}</script>',
        f"<script>{script}</script>",
        "</body></html>\n",
    ]
    return "\n".join(parts)


@cache
def _script() -> str:
    body = "\n".join(_read(f"{name}.js") for name in SCRIPTS)
    return f'"use strict";\n(() => {{\n{body}\n}})();\n'


@cache
def _style() -> str:
    return "\n".join(_read(f"{name}.css") for name in STYLES)


def _read(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """A source expression of Content-Security-Policy that allows exactly this text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _plain(leaderboard: Leaderboard) -> str:
    """What a browser without scripts shows."""
    rows = sorted(leaderboard.rows, key=lambda row: -(row.accuracy or 0))
    lines = "".join(map(_line, rows))
    return (
        f"<h1>{escape(leaderboard.suite)}</h1><p>With scripts turned on, this page shows"
        " leaderboards under limits, comparisons, mistakes and more. Without them, only this, in"
        " order of accuracy and not ranked:</p><table><thead><tr><th>entry</th><th>weights</th>"
        "<th>mean accuracy</th>"
        f"<th>95 %</th></tr></thead><tbody>{lines}</tbody></table>"
    )


def _line(row: Row) -> str:
    shown = size(row.model_size.bytes) if row.model_size else "not known"
    if row.accuracy is None:
        return f"<tr><th>{escape(row.entry)}</th><td>{shown}</td><td colspan=2>failed</td></tr>"
    low, high = row.interval or (None, None)
    return (
        f"<tr><th>{escape(row.entry)}</th><td>{shown}</td><td>{number(row.accuracy)}</td>"
        f"<td>{number(low)} to {number(high)}</td></tr>"
    )
