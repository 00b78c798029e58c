"""The page as a file: whole, closed to the network, harmless, small."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from engine.bench.page import page, write_page
from engine.bench.page.page import SCRIPTS
from engine.report.shell import stylesheet

FOLDER = Path(page.__code__.co_filename).parent
HOSTILE = "</script><script>alert(1)</script><!--\u202e\x00'\"&"
VOID = {"meta", "link"}


class Reader(HTMLParser):
    """Holds the page to balanced tags; keeps tags and what stands in scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        if self.open and self.open[-1] in self.inside:
            self.inside[self.open[-1]].append(text)


@pytest.fixture(scope="module")
def text(contest: Any) -> str:
    return page(contest.leaderboard, contest.answers, contest.picture)


def test_the_policy_allows_this_script_and_this_style_alone(text: str) -> None:
    reader = Reader(text)
    policies = [
        attributes["content"] or ""
        for tag, attributes in reader.tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert len(policies) == 1
    rules = dict(rule.strip().split(" ", 1) for rule in policies[0].split(";"))
    assert rules.pop("default-src") == "'none'"
    assert rules.pop("img-src") == "data:"
    assert rules.pop("base-uri") == rules.pop("form-action") == "'none'"
    for kind, content in (
        ("script", reader.inside["script"][1]),
        ("style", reader.inside["style"][0]),
    ):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules.pop(f"{kind}-src") == f"'sha256-{digest}'"
    assert rules == {}


def test_nothing_is_loaded_from_elsewhere(text: str) -> None:
    for tag, attributes in Reader(text).tags:
        assert not set(attributes) & {"src", "srcset", "action", "style"}, tag
        assert not [name for name in attributes if name.startswith("on")]
        if tag == "link":
            assert attributes == {"rel": "icon", "href": "data:,"}
    code = "".join((FOLDER / f"{name}.js").read_text() for name in SCRIPTS)
    style = (FOLDER / "leaderboard.css").read_text() + str(stylesheet())
    assert set(re.findall(r"https?://[^\"' )]+", code + style)) == {"http://www.w3.org/2000/svg"}
    for word in ("fetch(", "XMLHttpRequest", "WebSocket", "import(", "innerHTML", "outerHTML",
                 "insertAdjacentHTML", "document.write", "eval("):  # fmt: skip
        assert word not in code
    assert "url(" not in style
    assert "@import" not in style


def test_hostile_texts_end_nothing(
    make_fake: Callable[..., Any], entry: Callable[..., Any]
) -> None:
    entries = [
        entry(HOSTILE, 0.5, 30.0, contamination={HOSTILE: HOSTILE}),
        entry("b", 0, fails=HOSTILE),
    ]
    fake = make_fake(entries, {HOSTILE: (HOSTILE, "b")}, 30)
    leaderboard = fake.leaderboard.model_copy(update={"suite": HOSTILE, "method": HOSTILE})
    text = page(leaderboard, fake.answers, fake.picture)
    reader = Reader(text)
    assert [tag for tag, _ in reader.tags].count("script") == 2
    assert "<!--" not in text.replace("<!doctype", "")
    data = json.loads(reader.inside["script"][0])
    assert data["suite"] == data["entries"][0]["name"] == data["datasets"][0]["name"] == HOSTILE
    assert data["datasets"][0]["classes"][0] == HOSTILE


def test_without_scripts_there_is_a_table(text: str, contest: Any) -> None:
    plain = text.split("<noscript>")[1].split("</noscript>")[0]
    for row in contest.leaderboard.rows:
        assert f"<th><bdi>{row.entry}</bdi></th>" in plain
    assert plain.count("<tr>") == 1 + len(contest.leaderboard.rows)


def test_a_page_of_six_entries_and_6000_images_stays_small(
    make_fake: Callable[..., Any], entry: Callable[..., Any]
) -> None:
    entries = [entry(f"e{i}", 0.1 * i, 10.0 + i) for i in range(6)]
    classes = {
        "many": tuple(f"class {i}" for i in range(300)),
        "some": tuple(f"class {i}" for i in range(100)),
        "few": tuple("0123456789"),
    }
    fake = make_fake(entries, classes, 2000)
    text = page(fake.leaderboard, fake.answers, fake.picture)
    assert len(text.encode()) < 3_500_000


def test_it_is_written_whole(contest: Any, tmp_path: Path) -> None:
    path = tmp_path / "below" / "leaderboard.html"
    write_page(path, contest.leaderboard, contest.answers, contest.picture)
    assert path.read_text(encoding="utf-8").endswith("</body></html>")
    assert [each.name for each in path.parent.iterdir()] == ["leaderboard.html"]


def test_entries_without_answers_have_no_mistakes(contest: Any) -> None:
    text = page(contest.leaderboard, {}, contest.picture)
    data = json.loads(Reader(text).inside["script"][0])
    assert data["pictures"] == []
    assert {cell and cell["confusion"] for e in data["entries"] for cell in e["cells"]} == {None}


def test_every_file_of_the_page_is_part_of_it() -> None:
    assert {f"{name}.js" for name in SCRIPTS} == {p.name for p in FOLDER.glob("*.js")}
    assert [p.name for p in FOLDER.glob("*.css")] == ["leaderboard.css"]


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_parse(name: str) -> None:
    subprocess.run(["node", "--check", FOLDER / f"{name}.js"], check=True)
