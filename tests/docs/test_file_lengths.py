"""A file is short enough to be read at one sitting: 400 lines at most."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMIT = 400
LONGER = {
    "tests/framework/bench/page/test_browser.py": 423,
    "tests/framework/cli/test_cli_predict.py": 480,
    "tests/testing/wrong_towers.py": 545,
}
"""Files of tests that are longer still, and how long they are at most: this list only shrinks."""


def test_no_file_is_longer_than_can_be_read_at_once() -> None:
    folders = ("framework", "plugins", "benchmarks", "tests", "docs")
    found = {
        path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines())
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
    }
    assert len(found) > 800, "the search found hardly any file: the folders have moved"
    assert {name: lines for name, lines in found.items() if lines > LONGER.get(name, LIMIT)} == {}
    shorter = [name for name in LONGER if found.get(name, 0) <= LIMIT]
    assert shorter == [], "these are short enough now: take them from the list"
