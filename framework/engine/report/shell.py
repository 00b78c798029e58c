"""The page shell: Jinja2 with autoescape, one template around every page, one stylesheet.

A page is one HTML file that needs nothing else: no network, and no script unless it says so. Its
own Content-Security-Policy forbids everything else. A template is named ``PACKAGE/FILE``, where
``PACKAGE`` has a folder ``templates``::

    render("engine.clusters/page.html", title=..., clusters=...)

and begins with ``{% extends "engine.report/page.html" %}``. Text from data goes through the filter
``text`` (``{{ name | text }}``), which also shows invisible characters and keeps text that runs
from right to left from turning the line around it. Whatever else is printed is escaped as well.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from unicodedata import category

from jinja2 import BaseLoader, Environment, PackageLoader, StrictUndefined, TemplateNotFound
from markupsafe import Markup, escape

from engine.report.about import About
from engine.report.words import human, number, percent, size

if TYPE_CHECKING:
    from PIL import Image

POLICY = Markup("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
"""Of a page without a script: pictures within the file, styles, nothing else."""


_UNSEEN = frozenset({"Cc", "Cf", "Co", "Cs"})
"""Categories of characters that nobody sees: controls, formats, private use, surrogates."""


class _Templates(BaseLoader):
    """Templates of any package: ``engine.clusters/page.html`` lies in that package's folder."""

    @cache  # noqa: B019 (one loader for each process)
    def _of(self, package: str) -> PackageLoader:
        return PackageLoader(package, "templates")

    def get_source(
        self, environment: Environment, template: str
    ) -> tuple[str, str, Callable[[], bool] | None]:
        package, slash, name = template.partition("/")
        if not slash:
            raise TemplateNotFound(template, "templates are named PACKAGE/FILE")
        return self._of(package).get_source(environment, name)


@cache
def environment() -> Environment:
    """The one Jinja2 environment; a value that a template misses is an error."""
    made = Environment(
        loader=_Templates(),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "text": text, "human": human, "percent": percent, "size": size, "number": number,
        "plain": plain, "thousands": lambda value: f"{value:,}",
    }  # fmt: skip
    made.globals |= {"stylesheet": stylesheet, "policy": POLICY, "table": table}
    return made


@cache
def stylesheet(*names: str) -> Markup:
    """The stylesheet: light and dark, from 375 pixels up.

    Args:
        names: of its parts. ``style`` is what all pages have in common, ``parts`` are the elements
            of pages without a script; by default both.
    """
    folder = files(__package__) / "templates"
    return Markup("\n".join(
        (folder / f"{name}.css").read_text(encoding="utf-8") for name in names or ("style", "parts")
    ))  # fmt: skip


def render(template: str, **values: Any) -> str:
    """A whole document from a template that extends ``engine.report/page.html``.

    Args:
        template: ``PACKAGE/FILE``.
        values: what the template names. The shell itself reads ``title`` (plain text), and, where
            given, ``about`` (:class:`~engine.report.about.About`), ``kind`` (what sort of page it
            is), ``name`` (the heading; by default the title), ``facts`` (pairs of label and value)
            and ``warnings``.

    Raises:
        jinja2.UndefinedError: the template names a value that is missing.
    """
    shell = {"about": None, "kind": "", "name": "", "facts": (), "warnings": ()}
    return environment().get_template(template).render(shell | values)


def fragment(template: str, **values: Any) -> Markup:
    """A part of a page, from a template that extends none; see :func:`render`."""
    return Markup(environment().get_template(template).render(values))


def page(
    title: str,
    body: Iterable[Markup | str | Any],
    *,
    about: About | None = None,
    kind: str = "",
    name: str = "",
    facts: Sequence[tuple[str, str]] = (),
    warnings: Sequence[str] = (),
) -> str:
    """A whole document of fragments, for a page without a template of its own.

    Args:
        title: plain text.
        body: fragments (:class:`markupsafe.Markup`, charts); a plain string is escaped.
        about: config, data and versions, shown at the end.
        kind: what sort of page it is, above the heading.
        name: the heading; by default the title.
        facts: labels and values, below the heading.
        warnings: what a reader must know first.
    """
    return render(
        "engine.report/fragments.html", title=title, body=list(body), about=about, kind=kind,
        name=name, facts=facts, warnings=warnings,
    )  # fmt: skip


def table(
    heads: Sequence[str], rows: Iterable[Sequence[Any]], *, caption: str = "", left: int = 1
) -> Markup:
    """A table that scrolls sideways where it is too wide for the screen.

    Args:
        heads: of the columns.
        rows: the cells; text is escaped, :class:`markupsafe.Markup` and charts are not.
        caption: shown above.
        left: how many columns, from the first, hold words: they are aligned to the left.
    """
    cells = [[_cell(cell) for cell in row] for row in rows]
    return fragment(
        "engine.report/table.html", heads=[_cell(head) for head in heads], rows=cells,
        caption=caption, left=left,
    )  # fmt: skip


def _cell(value: Any) -> Any:
    if hasattr(value, "__html__") or str(value).isprintable():
        return value
    return text(value)


def text(value: object, longest: int = 300) -> Markup:
    """Untrusted text as HTML: cut, escaped, isolated, its invisible characters named.

    Args:
        value: any text.
        longest: characters shown at most.
    """
    shown = str(value)
    if len(shown) > longest:
        shown = shown[: longest - 1] + "…"
    if shown.isprintable():
        return Markup(f"<bdi>{escape(shown)}</bdi>")
    named = (
        Markup(f"<mark>U+{ord(c):04X}</mark>") if category(c) in _UNSEEN else escape(c)
        for c in shown
    )
    return Markup(f"<bdi>{Markup().join(named)}</bdi>")


def plain(value: str, longest: int = 200) -> str:
    """Untrusted text where no element may stand (a title, an attribute), not yet escaped."""
    if len(value) > longest:
        value = value[: longest - 1].rstrip() + "…"
    return "".join(c if c.isprintable() else "\ufffd" for c in value)


def picture(image: Image.Image, longest: int = 400, quality: int = 82) -> str:
    """A data URI of a small copy of an image, as JPEG.

    Args:
        image: in mode RGB or L.
        longest: pixels of the longer side at most.
        quality: of the JPEG.
    """
    small = image.copy()
    small.thumbnail((longest, longest))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
