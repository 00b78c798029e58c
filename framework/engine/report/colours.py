"""The light colours of the stylesheet, by the names under which pages know them."""

from __future__ import annotations

LIGHT = {
    "card": "#ffffff",
    "ink": "#171a21",
    "soft": "#636b7a",
    "line": "#e0e3ea",
    "track": "#eceef4",
    "bar": "#5b6ee8",
    "right": "#0f7d48",
    "wrong": "#bf2c46",
    "c0": "#5b6ee9",
    "c1": "#12a594",
    "c2": "#d9822b",
    "c3": "#c4314b",
    "c4": "#8a63d2",
    "c5": "#8790a3",
}
"""Charts are drawn in these; within a page each becomes the variable of that name."""

SERIES = ("c0", "c1", "c2", "c3", "c4", "c5")
"""The colours of lines and groups, in turn."""
