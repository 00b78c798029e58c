"""The one protocol of progress: its words, its parts, and that library code prints nothing."""

from __future__ import annotations

import ast
import logging
from pathlib import Path

import pytest

import engine
from engine.core.progress import Progress, in_words, logged, share_of, silent, within

RENDERERS = {"cli", "testing", "serve"}
"""What people touch prints; the rooms do not. (``serve`` writes its access log.)"""


def recorded() -> tuple[Progress, list[tuple[str, float, float | None]]]:
    lines: list[tuple[str, float, float | None]] = []

    def record(what: str, done: float = 0, total: float | None = None, /) -> None:
        lines.append((what, done, total))

    return record, lines


@pytest.mark.parametrize(
    ("given", "expected"),
    [(("reading",), "reading"), (("texts", 1234), "texts: 1,234"),
     (("images", 3, 1000), "images: 3 of 1,000"), (("images", 0, 0), "images: 0 of 0"),
     (("fitting", 0.25, 1), "fitting: 25%")],
)  # fmt: skip
def test_a_line_in_words(given: tuple[str, float, float], expected: str) -> None:
    assert in_words(*given) == expected


def test_parts_of_a_whole() -> None:
    record, lines = recorded()
    within(record, "clusters")("names", 1, 2)
    for number in range(2):
        part = share_of(record, number, 2)
        part("a")
        share_of(part, 1, 2)("b", 5, 10)
    silent("nothing", 1, 2)
    assert lines == [
        ("clusters: names", 1, 2), ("a", 0, 1), ("b", 0.375, 1), ("a", 0.5, 1), ("b", 0.875, 1)
    ]  # fmt: skip


def test_a_worker_logs_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="engine"):
        logged("images", 3, 10)
    assert caplog.messages == ["images: 3 of 10"]


def test_library_code_does_not_print() -> None:
    source, found = Path(engine.__file__).parent, []
    for path in sorted(source.rglob("*.py")):
        if path.relative_to(source).parts[0] in RENDERERS:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print":
                found.append(f"{path.relative_to(source)}:{node.lineno}")
    assert not found
