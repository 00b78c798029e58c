"""Every command of the documents is run, and the pages are built without a network."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..scaffold.environment import ROOT, Environment
from .blocks import PREPARATIONS, STAND_INS, copy_configs, do, nothing
from .pages import blocks_of

DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
GUIDES = [page for page in PAGES if not page.startswith(("api/", "decisions/"))]

MAX_LEFT_OUT = 9  # three need a service that runs, four are the steps of a CI


def test_what_a_page_may_hold() -> None:
    """Nothing escapes the tests by being written in another way."""
    left_out: list[str] = []
    for page in PAGES:
        for block in blocks_of(DOCS / page):
            where = f"{page}:{block.line}"
            assert block.title or block.language in ("bash", "python", "text"), where
            assert not (block.left_out and block.title), where
            left_out += [where] * bool(block.left_out)
    assert len(left_out) <= MAX_LEFT_OUT, left_out
    for page, old, _, _ in STAND_INS:
        assert any(old in block.text for block in blocks_of(DOCS / page)), (page, old)


def test_the_readme_of_a_package_says_what_the_guide_says() -> None:
    from engine.scaffold import Names
    from engine.scaffold.writer import render

    readme = render(Names.of("engine-my-encoder", "text_encoder"))["README.md"]
    guide = (DOCS / "write-a-plugin.md").read_text(encoding="utf-8")
    commands = re.search(r"```bash\n(.*?)```", readme, re.DOTALL)
    assert commands is not None
    for line in commands[1].splitlines():
        assert line.removesuffix(" --html gallery.html") in guide, line


@pytest.mark.slow
@pytest.mark.parametrize("page", GUIDES)
def test_every_command_works(page: str, clean: Environment, tmp_path: Path) -> None:
    folder = tmp_path / "page"
    copy_configs(folder / "configs")
    prepare = PREPARATIONS.get(page, nothing)
    with prepare(clean, folder):
        for block in blocks_of(DOCS / page):
            if not block.left_out:
                folder = do(block, page, clean, folder, tmp_path / "where")


@pytest.mark.slow
def test_the_pages_are_built_without_a_network(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="pip install 'engine-towers[docs]'")
    pytest.importorskip("mkdocstrings")
    code = (
        "import socket, sys\n"
        "def no(*arguments, **options): raise OSError('no network in this test')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = no\n"
        "from mkdocs.__main__ import cli\n"
        "cli()\n"
    )
    words = ["build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for page in PAGES:
        html = (tmp_path / "site" / page).with_suffix(".html").read_text(encoding="utf-8")
        assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=\"?https?:", html), page
    contracts = (tmp_path / "site" / "api" / "contracts.html").read_text(encoding="utf-8")
    for name in ("TextEncoder", "Tokenizer", "Clusterer", "Sampler"):
        assert f">{name}</span>" in contracts or f">{name}<" in contracts
