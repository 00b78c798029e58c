"""The glossary and the code use the same words."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from engine.contracts import KINDS

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "framework" / "engine"


@cache
def tables() -> dict[str, list[list[str]]]:
    """The rows of each section's table: its cells, without the heading."""
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    found = {}
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        lines = [line for line in body.splitlines() if line.startswith("| ")]
        found[title] = [
            [cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines[2:]
        ]
    return found


@cache
def words_of_the_code() -> frozenset[str]:
    """Every name and every text of one word in the source, and the names of its modules."""
    words = {path.stem for path in SOURCE.rglob("*.py")}
    words |= {path.name for path in SOURCE.iterdir() if path.is_dir()}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for field in ("name", "id", "attr", "arg"):
                if isinstance(word := getattr(node, field, None), str):
                    words.add(word)
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words.add(node.value)
    return frozenset(words)


def test_every_kind_stands_in_it_with_its_contract() -> None:
    rows = {row[0].strip("`"): row[1].strip("`") for row in tables()["Kinds of plugin"]}
    assert list(rows) == list(KINDS)
    assert rows == {name: kind.contract.partition(":")[2] for name, kind in KINDS.items()}


@pytest.mark.parametrize(
    "section", ["Plugins and configs", "Models", "Training", "Data and results"]
)
def test_every_name_of_the_glossary_stands_in_the_code(section: str) -> None:
    rows = tables()[section]
    assert len(rows) > 5
    for term, code, _ in rows:
        names = re.findall(r"`([^`]+)`", code)
        assert names, term
        assert not set(names) - words_of_the_code(), term


def test_every_term_has_one_plain_sentence() -> None:
    rows = [row for table in tables().values() for row in table]
    for row in rows:
        assert len(row) == 3, row
        assert re.fullmatch(r"[A-Z].*\.", row[2]), row
    terms = [row[0] for row in rows]
    assert len(terms) == len(set(terms))


def test_words_of_the_first_edition_are_gone() -> None:
    """Names that the second edition replaced by words of the field."""
    old = {"joint_width", "key_layout", "OfKind", "add_gradients", "JudgeSettings", "KeyLayout"}
    assert not old & words_of_the_code()
