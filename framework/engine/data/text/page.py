"""Pages that need nothing else: one HTML file, no script, no network, light and dark.

Whatever comes from data is escaped, kept from turning the line around it (``<bdi>``), and shown
with its invisible characters named.
"""

from __future__ import annotations

import re
from functools import cache
from html import escape

from engine.data.text.characters import control, invisible

STYLE = """
:root {
  --page: #f4f5f8; --card: #fff; --ink: #171a21; --soft: #636b7a; --line: #e0e3ea;
  --bar: #5b6ee8; --track: #eceef4; --warn-page: #fff4d6; --warn-ink: #6b4a00;
  --c0: #5b6ee8; --c1: #12a594; --c2: #d9822b; --c3: #c4314b; --c4: #8a63d2; --c5: #9aa3b5;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0f1116; --card: #191c24; --ink: #eceef3; --soft: #98a0b0; --line: #2a2f3a;
    --bar: #8090ff; --track: #272c37; --warn-page: #352a10; --warn-ink: #ffdc8a;
    --c0: #8090ff; --c1: #35c9b6; --c2: #f0a04f; --c3: #ff7088; --c4: #b493ff; --c5: #6d7689;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: clamp(1rem, 3vw, 2.5rem); max-width: 90rem;
  background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
header, .card {
  background: var(--card); border: 1px solid var(--line); border-radius: 18px;
}
header { padding: clamp(1.1rem, 3vw, 2rem); margin-bottom: 1rem; }
.kind { margin: 0; color: var(--soft); font-size: .85rem; }
h1 { margin: .1rem 0 .9rem; font-size: clamp(1.6rem, 5vw, 2.4rem); line-height: 1.1;
  letter-spacing: -.02em; overflow-wrap: anywhere; }
dl { display: flex; flex-wrap: wrap; gap: .7rem 1.8rem; margin: 0; }
dt { color: var(--soft); font-size: .8rem; }
dd { margin: 0; font-weight: 600; font-size: 1.15rem; font-variant-numeric: tabular-nums; }
.warning { margin: 1rem 0 0; padding: .6rem .9rem; border-radius: 10px;
  background: var(--warn-page); color: var(--warn-ink); overflow-wrap: anywhere; }
h2 { margin: 0 0 .2rem; font-size: 1.05rem; letter-spacing: -.01em; }
p.note { margin: 0 0 .7rem; color: var(--soft); font-size: .85rem; }
mark { padding: 0 .25em; border-radius: 4px; background: var(--warn-page);
  color: var(--warn-ink); font-size: .75em; }
footer { margin-top: 1.5rem; color: var(--soft); font-size: .85rem; max-width: 50rem; }
"""
"""The tokens and parts that every page shares."""


def page(title: str, style: str, body: list[str]) -> str:
    """A whole document; its own policy forbids everything but inline styles and pictures.

    Args:
        title: plain text.
        style: CSS beyond ``STYLE``.
        body: HTML.
    """
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\';'
        " img-src data:; style-src 'unsafe-inline'\">",
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head><body>",
        *(part for part in body if part),
        "</body></html>\n",
    ]
    return "\n".join(parts)


@cache
def _hidden() -> re.Pattern[str]:
    return re.compile(f"[{invisible()}{control()}]")


def text(value: str, longest: int = 300) -> str:
    """Untrusted text as HTML."""
    if len(value) > longest:
        value = value[: longest - 1] + "…"
    shown = escape(value)
    if not value.isprintable():
        shown = _hidden().sub(lambda found: f"<mark>U+{ord(found[0]):04X}</mark>", shown)
    return f"<bdi>{shown}</bdi>"


def facts(pairs: list[tuple[str, str]]) -> str:
    """Labels with values."""
    return (
        "<dl>"
        + "".join(
            f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>" for label, value in pairs
        )
        + "</dl>"
    )
