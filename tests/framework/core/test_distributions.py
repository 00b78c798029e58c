"""Entry points as `importlib.metadata` finds them, and names of packages from any METADATA."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from engine.core.distributions import Distribution, described, entry_points


def install(folder: Path, name: str, version: str, points: str = "", form: str = "dist") -> Path:
    """What pip leaves of a package, in one of its forms."""
    kind, file = {"dist": ("dist-info", "METADATA"), "egg": ("egg-info", "PKG-INFO")}[form]
    home = folder / f"{name.replace('-', '_')}-{version}.{kind}"
    home.mkdir(parents=True)
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: Name: x\n"
    (home / file).write_text(f"{text}\nName: not in the head\n", encoding="utf-8")
    if points:
        (home / "entry_points.txt").write_text(points, encoding="utf-8")
    return home


@pytest.mark.parametrize("group", ["engine", "console_scripts", "pytest11", "nobody.has.this"])
def test_what_is_installed_here(group: str) -> None:
    theirs = importlib.metadata.entry_points(group=group)
    assert sorted((p.name, p.value) for p in entry_points(group)) == sorted(
        (p.name, p.value) for p in theirs
    )


def test_made_up_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    early, late = tmp_path / "early", tmp_path / "late"
    own = "[their.group]\na = first:X\n[other]\nb = o:Y\n"
    install(early, "my-plugin", "2.0", own)
    install(late, "My.Plugin", "1.0", own.replace("first", "second"))  # shadowed
    install(early, "no-points", "1.0")
    install(late, "no-points", "0.9", "[their.group]\nold = old:X\n")  # shadowed by none at all
    install(late, "an-egg", "3", "[their.group]\nc = egg:X\n", form="egg")
    install(late, "elsewhere", "3", "[their.group.more]\nd = e:X\n")
    (late / "broken-1.dist-info").mkdir()
    for folder in (late, early, early):
        monkeypatch.syspath_prepend(folder)
    found = entry_points("their.group")
    theirs = importlib.metadata.entry_points(group="their.group")
    assert sorted((p.name, p.value) for p in found) == sorted((p.name, p.value) for p in theirs)
    assert sorted(p.value for p in found) == ["egg:X", "first:X"]
    assert {str(described(p.dist)) for p in found if p.dist} == {"my-plugin 2.0", "an-egg 3"}


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
