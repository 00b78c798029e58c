"""A page that adds rules of its own keeps the stylesheet that all pages have."""

from __future__ import annotations

from pathlib import Path

import pytest

import engine

ROOT = Path(engine.__file__).parent
PAGES = sorted(path for path in ROOT.rglob("templates/*.html")
               if "{% block style %}" in path.read_text(encoding="utf-8"))  # fmt: skip


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_own_rules_come_beside_the_sheet(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    before = text.partition("{% block style %}")[0]
    if path.name == "page.html" and path.parent.parent.name == "report":
        assert "{% block sheet %}{{ stylesheet() }}{% endblock %}" in before
    else:
        assert "{% block sheet %}" not in text
