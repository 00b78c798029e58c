"""One name, one thing: no two public classes of Engine share a name."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "framework" / "engine"


def public_classes() -> dict[str, list[str]]:
    """The modules of every public class."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(str(path.relative_to(SOURCE)))
    return found


def test_no_two_public_classes_share_a_name() -> None:
    found = public_classes()
    assert len(found) > 200
    assert not {name: homes for name, homes in found.items() if len(homes) > 1}
