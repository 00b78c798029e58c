"""Names and versions of packages from any METADATA, as `importlib.metadata` gives them."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from engine.core.distributions import Distribution, described


def test_what_is_installed_here() -> None:
    installed = list(importlib.metadata.distributions())
    assert len(installed) > 20
    for one in installed:
        assert described(one) == Distribution(one.name or "?", one.version or "?")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Name: a\nVersion: 1\n\nName: b\nVersion: 2\n", "a 1"),
        ("Version: 1.0rc1\r\nName: a.b-c\r\n\r\nlong text\r\n", "a.b-c 1.0rc1"),
        ("Summary: x\n Name: folded\nName: real\nVersion:\t7\nName: second\n", "real 7"),
        ("Name: a", "a ?"),
        ("", "? ?"),
        ("no head at all", "? ?"),
    ],
)
def test_names_and_versions(tmp_path: Path, text: str, wanted: str) -> None:
    home = tmp_path / "x-0.dist-info"
    home.mkdir()
    (home / "METADATA").write_bytes(text.encode())
    found = described(importlib.metadata.Distribution.at(home))
    assert found == Distribution(*wanted.rsplit(" ", 1))
