"""Every page in a real browser: nothing on the console, nothing asked for, nothing wider than the
screen, light and dark. The list of pages is held against the commands and the templates."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import engine

from .every_page import PAGES, here, make_pages, options_of_pages

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
DRIVER = shutil.which("chromedriver")
SERVED = "the service"
ROOT = Path(engine.__file__).parent
TEMPLATES = {
    path.relative_to(ROOT).as_posix()
    for path in ROOT.rglob("templates/*.html")
    if "{% extends" in path.read_text(encoding="utf-8")
} - {"report/templates/fragments.html"}  # of `engine.report.page`, for pages of plugins
MADE_FROM = {
    "evaluate/templates/gallery.html": ("gallery.html", "answers.html", "scored.html"),
    "train/templates/curves.html": ("curves.html", "curves-of-two.html"),
    "clusters/templates/page.html": ("clusters.html",),
    "data/text/templates/statistics.html": ("statistics.html",),
    "data/templates/sheet.html": ("sheet.html",),
    "search/templates/hits.html": ("filtered.html", "hits.html", "twins.html"),
    "compress/templates/fit.html": ("fit.html",),
    "sweep/templates/sweep.html": ("sweep.html",),
    "bench/page/templates/leaderboard.html": ("leaderboard.html",),
    "serve/templates/page.html": (SERVED,),
}


def test_every_template_and_every_command_has_a_page_here() -> None:
    assert set(MADE_FROM) == TEMPLATES
    assert {name for names in MADE_FROM.values() for name in names} == {*PAGES, SERVED}
    with_html = [words for words in PAGES.values() if words[-1] == "--html"]
    commands = set(options_of_pages())
    covered = {
        command for command in commands for words in with_html
        if words[: len(command.split())] == tuple(command.split())
    }  # fmt: skip
    assert covered == commands, commands - covered
    assert ("data", "show") in {words[:2] for words in PAGES.values()}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The address of every page; the service runs while they are looked at."""
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        made = make_pages(folder, here)
    command = [sys.executable, "-m", "engine", "serve", "runs/a", "--index", "my.index",
               "--port", "0"]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        found = next(filter(None, (re.search(r"http://[\d.]+:\d+", x) for x in process.stderr)))
        yield {name: path.as_uri() for name, path in made.items()} | {SERVED: f"{found[0]}/"}
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if BROWSER is None or DRIVER is None:
        pytest.skip("chromium and chromedriver are not installed (Debian: chromium-driver)")
    from selenium.webdriver.chrome.service import Service

    options = selenium.ChromeOptions()
    options.binary_location = BROWSER
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "window-size=1400,1000"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with selenium.Chrome(options=options, service=Service(DRIVER)) as driver:
        yield driver


WIDER = """
  const scrolls = (each) => each && each !== document.documentElement && each !== document.body
    && (/auto|scroll|hidden|clip/.test(getComputedStyle(each).overflowX)
        || scrolls(each.parentElement));
  return [...document.querySelectorAll('body *')].filter((each) => {
    const box = each.getBoundingClientRect();
    return box.width > 0 && box.right > innerWidth + 1 && !each.closest('svg')
      && !scrolls(each.parentElement);
  }).slice(0, 5).map((each) => each.outerHTML.slice(0, 120));
"""

LIGHTNESS = """
  const parts = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const grey = (text) => parts(text).reduce((a, b) => a + b) / 765;
  let ground = document.body;
  const clear = /rgba\\(0, 0, 0, 0\\)|transparent/;
  while (ground && clear.test(getComputedStyle(ground).backgroundColor))
    ground = ground.parentElement;
  return [ground ? grey(getComputedStyle(ground).backgroundColor) : 1,
          grey(getComputedStyle(document.querySelector('h1')).color)];
"""


def show(chrome: Any, address: str, width: int, scheme: str) -> None:
    """Open a page at a width in a colour scheme."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    chrome.get("about:blank")
    for kind in ("browser", "performance"):
        chrome.get_log(kind)
    chrome.get(address)


def asked(chrome: Any) -> list[str]:
    """The addresses that a page asked for."""
    events = (json.loads(entry["message"])["message"] for entry in chrome.get_log("performance"))
    return [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*PAGES, SERVED])
def test_a_page_is_quiet_and_fits(pages: dict[str, str], chrome: Any, name: str) -> None:
    address = pages[name]
    for width, scheme in ((1400, "light"), (375, "light"), (375, "dark")):
        show(chrome, address, width, scheme)
        where = f"{name} at {width} pixels, {scheme}"
        assert chrome.title, where
        wide = chrome.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width, f"{where}: {chrome.execute_script(WIDER)}"
        assert chrome.execute_script(WIDER) == [], where
        ground, ink = chrome.execute_script(LIGHTNESS)
        assert (ground > 0.8 and ink < 0.4) if scheme == "light" else (ground < 0.3 and ink > 0.7)
        assert chrome.get_log("browser") == [], where
        own = address if name != SERVED else address.rstrip("/")
        others = [url for url in asked(chrome) if not url.startswith(("data:", "blob:", own))]
        assert others == [], where


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_where_it_comes_from(pages: dict[str, str], name: str) -> None:
    from urllib.parse import unquote, urlparse

    text = Path(unquote(urlparse(pages[name]).path)).read_text(encoding="utf-8")
    end = text.rpartition("<footer")[2]
    for word in ("data", "versions"):
        assert word in end, name
    shown = re.sub(r"<(script|style)\b.*?</\1>|<[^>]+>", " ", text, flags=re.DOTALL)
    if re.search(r"\baccuracy\b|\bclassified right\b", shown):
        assert "chance" in text, name
