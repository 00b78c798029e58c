"""The whole page: data, script and style in one HTML file, in the shell of ``engine.report``.

The script builds everything from the data with DOM calls that take text as text. The page's policy
allows that very script and that very style, by their digests, pictures in ``data:`` and nothing
else: no network, no code that data could bring in.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

from markupsafe import Markup

from engine.bench.leaderboard import Leaderboard
from engine.bench.page.payload import embed, payload
from engine.bench.page.pictures import Picture, choose
from engine.bench.results import EntryAnswers
from engine.core.files import write_text
from engine.report import render
from engine.report.shell import stylesheet

SCRIPTS = ("core", "chart", "leaderboard", "pairs", "datasets", "entry", "main")
"""Files of the script, in order; together they are one function."""


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
    script, style = _script(), Markup(f"{stylesheet('style')}\n{_read('leaderboard.css')}")
    policy = Markup(
        "default-src 'none'; img-src data:;"
        f" script-src '{_digest(script)}'; style-src '{_digest(style)}';"
        " base-uri 'none'; form-action 'none'"
    )
    data = embed(payload(leaderboard, answers, choose(answers, picture)))
    return render(
        "engine.bench.page/leaderboard.html", title=f"{leaderboard.suite}: leaderboard",
        page_policy=policy, style=style, script=Markup(script), data=Markup(data),
        rows=sorted(leaderboard.rows, key=lambda row: -(row.accuracy or 0)),
    )  # fmt: skip


@cache
def _script() -> str:
    body = "\n".join(_read(f"{name}.js") for name in SCRIPTS)
    return f'"use strict";\n(() => {{\n{body}\n}})();\n'


def _read(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """A source expression of Content-Security-Policy that allows exactly this text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
