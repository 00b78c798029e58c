"""No modules of Engine import each other in a circle, under ``TYPE_CHECKING`` or in functions."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
Graph = Mapping[str, set[str]]


def modules_of(folder: Path) -> dict[str, Path]:
    """Every module below a folder by its dotted name."""
    found = {}
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, names: Mapping[str, Path]) -> Iterator[str]:
    """The modules among ``names`` that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                within = f"{node.module}.{alias.name}"
                if within in names:
                    yield within
                elif node.module in names:
                    yield node.module


def graph_of(folders: Iterable[Path]) -> dict[str, set[str]]:
    """Which module imports which; a package's own ``__init__`` is a module beside its others."""
    names = {name: path for folder in folders for name, path in modules_of(folder).items()}
    return {name: set(imported(path, names)) - {name} for name, path in names.items()}


def circles(graph: Graph) -> list[list[str]]:
    """The strongly connected groups of more than one module (Tarjan's algorithm, with a stack)."""
    found: list[list[str]] = []
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    for root in sorted(graph):
        if root in numbers:
            continue
        work = [(root, iter(sorted(graph[root])))]
        numbers[root] = lowest[root] = len(numbers)
        stack.append(root)
        while work:
            name, rest = work[-1]
            coming = next(rest, None)
            if coming is None:
                work.pop()
                if work:
                    lowest[work[-1][0]] = min(lowest[work[-1][0]], lowest[name])
                if lowest[name] == numbers[name]:
                    place = stack.index(name)
                    if len(stack) - place > 1:
                        found.append(sorted(stack[place:]))
                    del stack[place:]
            elif coming not in numbers:
                numbers[coming] = lowest[coming] = len(numbers)
                stack.append(coming)
                work.append((coming, iter(sorted(graph[coming]))))
            elif coming in stack:
                lowest[name] = min(lowest[name], numbers[coming])
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = graph_of([ROOT / "framework" / "engine", ROOT / "plugins" / "engine_plugins"])
    assert len(graph) > 300, "the search found hardly any module: the folders have moved"
    assert circles(graph) == []


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ({"a": {"b"}, "b": {"a"}}, [["a", "b"]]),
        ({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}, [["a", "b", "c"]]),
        ({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": set()}, []),
        ({"a": {"b"}, "b": {"a", "c"}, "c": {"d"}, "d": {"c"}}, [["c", "d"], ["a", "b"]]),
        ({"a": set()}, []),
    ],
)
def test_circles_are_found(graph: Graph, expected: list[list[str]]) -> None:
    assert circles(graph) == expected


def test_imports_count_wherever_they_stand(tmp_path: Path) -> None:
    package = tmp_path / "small"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from small.two import Two\n"
    )
    (package / "two.py").write_text("def late():\n    from small import one\n")
    assert circles(graph_of([package])) == [["small.one", "small.two"]]
