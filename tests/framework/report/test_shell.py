"""The shell: everything escaped, nothing missing in silence, a policy, and the end of each page."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup
from PIL import Image

from engine.report import about, fragment, human, page, percent, picture, render, size, table
from engine.report.shell import plain, text
from engine.version import __version__

HOSTILE = "<script>alert('\"&</script>\u202e"


class Balanced(HTMLParser):
    """Every element that is opened is closed, in order; it keeps the tags."""

    ALONE = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag not in self.ALONE:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_whatever_a_page_shows_is_escaped() -> None:
    html = page(
        HOSTILE, [HOSTILE, table([HOSTILE], [[HOSTILE], [HOSTILE]], caption=HOSTILE)],
        kind=HOSTILE, name=HOSTILE, facts=[(HOSTILE, HOSTILE)], warnings=[HOSTILE],
        about=about(config=HOSTILE, data=[HOSTILE], notes=[HOSTILE], versions={HOSTILE: HOSTILE}),
    )  # fmt: skip
    assert "script" not in Balanced(html).tags
    assert "&lt;script&gt;" in html


def test_markup_is_not_escaped() -> None:
    assert "<em>yes</em>" in page("t", [Markup("<em>yes</em>")])


def test_a_page_needs_nothing_else() -> None:
    html = page("t", [], about=about())
    assert "default-src 'none'" in html
    assert not re.search(r"https?://|@import|url\(", html)


def test_a_page_says_config_data_and_versions() -> None:
    html = page("t", [], about=about(config="a.yaml", data=["pets", "cars"], packages=["numpy"]))
    for word in ("a.yaml", "pets", "cars", f"engine {__version__}", "python 3", "numpy"):
        assert word in html
    assert "<footer>" not in page("t", [])
    assert "nowhere" not in page("t", [], about=about(packages=["nowhere"]))


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        render("engine.report/fragments.html")
    with pytest.raises(jinja2.UndefinedError):
        fragment("engine.report/table.html", rows=[])


@pytest.mark.parametrize("name", ["page.html", "engine.report/none.html"])
def test_a_template_that_is_not_there(name: str) -> None:
    with pytest.raises(jinja2.TemplateNotFound):
        render(name)


@settings(deadline=None)
@given(st.text(max_size=50))
def test_no_text_breaks_out(value: str) -> None:
    found = text(value)
    inner = re.sub(r"<mark>U\+[0-9A-F]{4,6}</mark>", "", found)
    assert re.fullmatch(r"<bdi>[^<>]*</bdi>", inner)
    assert not set(inner) & set("\u202e\u200b\x00\x1b\n\u2066")
    assert plain(value).isprintable()


def test_long_text_is_cut() -> None:
    assert text("a" * 999, 10) == "<bdi>aaaaaaaaa…</bdi>"
    assert plain("a" * 999, 10) == "aaaaaaaaa…"


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0%"), (0.5, "50%"), (0.012, "1.2%"), (0.0004, "<0.1%"), (1, "100%")]
)
def test_percent(value: float, shown: str) -> None:
    assert percent(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(7, "7"), (999, "999"), (1500, "1.5k"), (638_492, "638k"), (2e6, "2M"), (-1500, "-1.5k")],
)
def test_human(value: float, shown: str) -> None:
    assert human(value) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [(5, "5 B"), (12_345_678, "12.3 MB"), (999_999, "1000 kB"), (10**9, "1.00 GB")],
)
def test_size(count: int, shown: str) -> None:
    assert size(count) == shown


def test_a_picture_is_small() -> None:
    uri = picture(Image.new("RGB", (900, 300), "red"), longest=50)
    assert uri.startswith("data:image/jpeg;base64,")
    assert len(uri) < 2_000
