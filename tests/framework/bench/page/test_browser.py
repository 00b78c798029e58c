"""The page in a real browser, opened from disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.bench.page import write_page

pytest.importorskip("selenium", reason="selenium is not installed (pip install selenium)")
from selenium.webdriver import Chrome, ChromeOptions, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

pytestmark = pytest.mark.slow

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
DRIVER = shutil.which("chromedriver")
HOSTILE = "</script><img src=x onerror=alert(1)><!--\u202e"


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chrome]:
    if BROWSER is None or DRIVER is None:
        pytest.skip("chromium and chromedriver are not installed (Debian: chromium-driver)")
    options = ChromeOptions()
    options.binary_location = BROWSER
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "window-size=1400,1000"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with Chrome(options=options, service=Service(DRIVER)) as driver:
        driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]},
        )
        yield driver


@pytest.fixture(scope="module")
def path(contest: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "leaderboard.html"
    write_page(path, contest.leaderboard, contest.answers, contest.picture)
    return path


@pytest.fixture
def page(chrome: Chrome, path: Path) -> Iterator[Chrome]:
    """The page, freshly loaded; afterwards nothing was complained of and nothing asked for."""
    show(chrome, path)
    yield chrome
    check_quiet(chrome, path)


def show(chrome: Chrome, path: Path) -> None:
    for kind in ("browser", "performance"):
        chrome.get_log(kind)
    chrome.get("about:blank")
    chrome.get(path.as_uri())


def check_quiet(chrome: Chrome, path: Path) -> None:
    """No message on the console, no request but for the page itself and its pictures."""
    assert chrome.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in chrome.get_log("performance")]
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    own = path.as_uri()
    assert [u for u in asked if u.partition("#")[0] != own and not u.startswith("data:")] == []
    assert own in [u.partition("#")[0] for u in asked]


def find(page: Chrome, css: str) -> WebElement:
    return page.find_element(By.CSS_SELECTOR, css)


def texts(page: Chrome, css: str) -> list[str]:
    return [each.text for each in page.find_elements(By.CSS_SELECTOR, css)]


def ranked(page: Chrome) -> list[str]:
    return texts(page, "#leaderboard tbody.ranked .c-entry .link")


def column(page: Chrome, key: str) -> list[float]:
    found = texts(page, f"#leaderboard tbody.ranked td.c-{key}")
    return [float(text.split()[0].removesuffix("saw")) for text in found]


def tab(page: Chrome, words: str) -> WebElement:
    xpath = f"//section[@id='leaderboard']//button[@role='tab'][.='{words}']"
    return page.find_element(By.XPATH, xpath)


def test_it_opens_with_the_best_entry_under_each_limit(page: Chrome, contest: Any) -> None:
    leaderboard = contest.leaderboard
    assert texts(page, ".best .who") == [
        size_bucket.ranks[0].entry for size_bucket in leaderboard.size_buckets
    ]
    figures = texts(page, ".best .figure")
    assert figures == [
        f"{leaderboard.row(t.ranks[0].entry).accuracy:.1f}%" for t in leaderboard.size_buckets
    ]
    assert find(page, "h1").text == leaderboard.suite
    assert "2026-11-24 23:50" in find(page, "header").text
    assert "versions: engine 0.1.0, python 3.11.2" in find(page, "footer").text


def test_it_opens_on_the_widest_limit_that_somebody_keeps(
    chrome: Chrome, make_fake: Callable[..., Any], entry: Callable[..., Any], tmp_path: Path
) -> None:
    heavy = make_fake([entry("heavy", 0.5, 2000.0)], {"digits": tuple("0123456789")}, 40)
    path = tmp_path / "heavy.html"
    write_page(path, heavy.leaderboard, heavy.answers, heavy.picture)
    show(chrome, path)
    assert tab(chrome, "no limit").get_attribute("aria-selected") == "true"
    assert texts(chrome, ".best .who") == ["nobody"] * 4 + ["heavy"]
    assert not chrome.find_elements(By.CSS_SELECTOR, "#real")
    check_quiet(chrome, path)


def test_tabs_choose_the_limit_also_by_keyboard(page: Chrome, contest: Any) -> None:
    for size_bucket, words in zip(
        contest.leaderboard.size_buckets[:2], ("≤ 50 MB", "≤ 150 MB"), strict=True
    ):
        tab(page, words).click()
        assert tab(page, words).get_attribute("aria-selected") == "true"
        assert ranked(page) == [place.entry for place in size_bucket.ranks]
        assert texts(page, "#leaderboard tbody.over .link") == list(size_bucket.over)
        ranks = [
            f"{p.best}" if p.best == p.worst else f"{p.best}-{p.worst}" for p in size_bucket.ranks
        ]
        assert texts(page, "#leaderboard tbody.ranked .rank") == ranks
    assert any("-" in rank for rank in ranks)
    tab(page, "≤ 150 MB").send_keys(Keys.ARROW_LEFT)
    assert tab(page, "≤ 50 MB").get_attribute("aria-selected") == "true"
    assert page.switch_to.active_element == tab(page, "≤ 50 MB")
    assert ranked(page) == [place.entry for place in contest.leaderboard.size_buckets[0].ranks]


def test_what_is_over_without_a_model_or_failed_stands_apart(page: Chrome) -> None:
    assert texts(page, "#leaderboard tbody.over .link") == ["clip_rubert"]
    assert texts(page, "#leaderboard tbody.over .rank") == []
    assert texts(page, "#leaderboard tbody.without_model .link") == ["rivals"]
    assert texts(page, "#leaderboard tbody.failed .link") == ["clip_bpe"]
    assert "the loss is not a number after step 212" in find(page, "#leaderboard tbody.failed").text
    rows = {name: find(page, f"#leaderboard tr:has(button[title='{name}'])").text
            for name in ("no_training", "ruclip", "rivals")}  # fmt: skip
    assert "random weights, never trained" in rows["no_training"]
    assert "saw shapes in training" in rows["ruclip"]
    assert "predictions only" in rows["rivals"]


@pytest.mark.parametrize(
    "key", ["bytes", "accuracy", "data-1", "metric-calibration_error", "ms", "rate"]
)
def test_every_column_sorts_both_ways(page: Chrome, key: str) -> None:
    def press() -> str:
        find(page, f"#leaderboard th.c-{key} button").click()
        return find(page, f"#leaderboard th.c-{key}").get_attribute("aria-sort") or ""

    def values() -> list[float]:
        digits = "return [...document.querySelectorAll('#leaderboard tbody.ranked td')]"
        cells = page.execute_script(
            f"{digits}.filter(c => c.classList.contains('c-{key}')).map(c => c.innerText)"
        )
        units = {"GB": 1e9, "MB": 1e6}
        return [float(c.split()[0]) * units.get(c.split()[-1], 1) for c in cells]

    first = press()
    assert len(values()) > 4
    assert values() == sorted(values(), reverse=first == "descending")
    second = press()
    assert {first, second} == {"ascending", "descending"}
    assert values() == sorted(values(), reverse=second == "descending")
    others = page.find_elements(
        By.CSS_SELECTOR, "#leaderboard th[aria-sort]:not([aria-sort='none'])"
    )
    assert len(others) == 1


def test_sorting_by_keyboard_keeps_the_focus(page: Chrome) -> None:
    find(page, "#leaderboard th.c-entry button").send_keys(Keys.ENTER)
    assert ranked(page) == sorted(ranked(page))
    assert page.switch_to.active_element == find(page, "#leaderboard th.c-entry button")


def test_filters_hide_rows_and_points_and_keep_ranks(page: Chrome) -> None:
    before = dict(zip(ranked(page), texts(page, "#leaderboard tbody.ranked .rank"), strict=True))
    boxes = page.find_elements(By.CSS_SELECTOR, "#leaderboard .check input")
    boxes[0].click()
    assert "no_training" not in ranked(page)
    boxes[1].click()
    assert "ruclip" not in ranked(page)
    after = dict(zip(ranked(page), texts(page, "#leaderboard tbody.ranked .rank"), strict=True))
    assert after.items() < before.items()
    assert find(page, "#leaderboard .count").text == "7 of 9 entries"
    assert not page.find_elements(By.CSS_SELECTOR, ".dot[aria-label^='ruclip']")
    box = find(page, "#leaderboard input[type=search]")
    box.send_keys("SBER_c")
    assert ranked(page) == ["sber_cluster"]
    box.send_keys("xyz")
    assert "No entry here fits the filter." in find(page, "#leaderboard table").text


def test_a_point_tells_its_entry_and_leads_to_its_row(page: Chrome) -> None:
    point = find(page, ".dot[aria-label^='sber_cluster']")
    page.execute_script("arguments[0].focus()", point)
    assert "sber_cluster" in find(page, ".tip").text
    assert find(page, ".tip").text.splitlines()[2:] == [
        "46.4 MB, 11.6 M parameters",
        "14.1 ms an image",
    ]
    point.send_keys(Keys.ENTER)
    assert page.switch_to.active_element.text == "sber_cluster"
    assert "chosen" in (find(page, "#row-0").get_attribute("class") or "")
    assert find(page, "#entry h3.title").text == "sber_cluster"


def test_the_picture_can_be_drawn_against_time(page: Chrome) -> None:
    find(page, "#picture .switch label:last-of-type").click()
    assert " ms" in (find(page, ".dot").get_attribute("aria-label") or "")
    assert page.find_elements(By.CSS_SELECTOR, "svg .frontline")
    assert not page.find_elements(By.CSS_SELECTOR, "svg line.limit")


OVERLAPS = """
  const names = [...document.querySelectorAll('.chart .name')];
  const boxes = names.map((name) => name.getBoundingClientRect());
  const meet = (a, b) => a.left < b.right - 1 && b.left < a.right - 1
    && a.top < b.bottom - 3 && b.top < a.bottom - 3;
  const pairs = boxes.flatMap((a, i) => boxes.slice(i + 1).filter((b) => meet(a, b)));
  return [boxes.length, pairs.length];
"""


@pytest.mark.parametrize("width", [1400, 390])
def test_labels_do_not_overlap_even_where_points_crowd(
    chrome: Chrome, make_fake: Callable[..., Any], entry: Callable[..., Any], tmp_path: Path,
    width: int,
) -> None:  # fmt: skip
    crowd = [entry(f"entry_number_{i}", 0.5 + 0.02 * (i % 5), 40 + 0.7 * i) for i in range(16)]
    fake = make_fake(crowd, {"digits": tuple("0123456789")}, 60)
    path = tmp_path / "crowd.html"
    write_page(path, fake.leaderboard, {}, fake.picture)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        show(chrome, path)
        found, overlapping = chrome.execute_script(OVERLAPS)
        assert found >= (12 if width > 500 else 4)
        assert overlapping == 0
        across = "return document.documentElement.scrollWidth <= innerWidth"
        assert chrome.execute_script(across)
    finally:
        chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    check_quiet(chrome, path)


def test_nothing_but_tables_scrolls_sideways_on_a_phone(chrome: Chrome, path: Path) -> None:
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        show(chrome, path)
        assert chrome.execute_script("return [innerWidth, document.body.scrollWidth]") == [390, 390]
        beyond = """
          const card = document.querySelector('#entry').getBoundingClientRect();
          return [...document.querySelectorAll('#entry .parts, #entry dl, #entry pre')].filter(
            (each) => each.getBoundingClientRect().right > card.right).length"""
        assert chrome.execute_script(beyond) == 0
    finally:
        chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_pair_is_reported_in_words(page: Chrome, contest: Any) -> None:
    pairs = {frozenset((each.a, each.b)): each for each in contest.leaderboard.comparisons}
    tied = next(each for each in contest.leaderboard.comparisons if not each.real)
    real = next(each for each in contest.leaderboard.comparisons if each.real)
    for each in (tied, real):
        choose_pair(page, contest, each.b, each.a)
        story = find(page, "#real .story").text
        assert story.startswith("The difference is real" if each.real else "Tied")
        assert f"{each.a} is ahead of {each.b} by {each.difference:.1f} points" in story
        for name, count in each.only_a.items():
            line = find(
                page, f"#real .only tbody tr:nth-child({list(each.only_a).index(name) + 1})"
            )
            assert line.text.split() == [str(count), name, str(each.only_b[name])]
    assert len(page.find_elements(By.CSS_SELECTOR, "#real .pairs button")) == 2 * len(pairs)
    first = page.switch_to.active_element.get_attribute("data-pair")
    page.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    moved = page.switch_to.active_element
    assert moved.get_attribute("data-pair") != first
    assert moved.get_attribute("aria-pressed") == "true"


def test_confusions_agree_with_the_answers(page: Chrome, contest: Any) -> None:
    entry, dataset = "clip_openai", "caltech"
    page.find_element(By.XPATH, f"//section[@id='data']//button[.='{dataset}']").click()
    find(page, f"#confusion option[value='{place_of(contest, entry)}']").click()
    answers = contest.answers[entry].datasets[dataset]
    counts: dict[tuple[int, int], int] = {}
    for label, top in zip(answers.labels, answers.top, strict=True):
        if top and top[0] != label:
            counts[label, top[0]] = counts.get((label, top[0]), 0) + 1
    maximum = max(counts.values())
    first = find(page, "#confusion .confused li").text
    assert first.splitlines() in [
        [f"{answers.classes[own]} → {answers.classes[said]}",
         f"{maximum} of {of} ({100 * maximum / of:.0f} %)"]
        for (own, said), count in counts.items()
        if count == maximum and (of := answers.labels.count(own))
    ]  # fmt: skip
    mistakes = sum(counts.values()) + 1  # and the broken image
    assert find(page, "#confusion .note").text.startswith(f"{mistakes} mistakes")
    assert len(page.find_elements(By.CSS_SELECTOR, ".heat tbody tr")) == len(answers.classes)


def choose_pair(page: Chrome, contest: Any, row: str, column: str) -> None:
    ranks = f"{place_of(contest, row)} {place_of(contest, column)}"
    button = find(page, f"#real button[data-pair='{ranks}']")
    assert (button.get_attribute("title") or "").startswith(f"{row} minus {column}: ")
    button.click()


def place_of(contest: Any, entry: str) -> int:
    return [row.entry for row in contest.leaderboard.rows].index(entry)


def test_mistakes_are_pictures_with_truth_and_answer(page: Chrome, contest: Any) -> None:
    find(page, f"#mistakes option[value='{place_of(contest, 'sber')}']").click()
    cards = page.find_elements(By.CSS_SELECTOR, "#mistakes figure")
    assert len(cards) >= 10
    answers = contest.answers["sber"].datasets["shapes"]
    for card in cards:
        row = answers.ids.index(card.get_attribute("title") or "")
        assert (
            card.find_element(By.CSS_SELECTOR, ".truth bdi").text
            == (answers.classes[answers.labels[row]])
        )
        assert (
            answers.classes[answers.top[row][0]]
            in card.find_element(By.CSS_SELECTOR, ".predicted").text
        )
    picture = cards[0].find_element(By.TAG_NAME, "img")
    page.execute_script("arguments[0].scrollIntoView()", picture)
    ready = (
        "const done = arguments[1]; arguments[0].decode().then(() => done(true), () => done(false))"
    )
    assert page.execute_async_script(ready, picture)


def test_a_pair_leads_to_pictures_that_only_one_got_right(page: Chrome, contest: Any) -> None:
    pair = next(each for each in contest.leaderboard.comparisons if each.a == "clip_rubert")
    choose_pair(page, contest, pair.a, pair.b)
    way = find(page, "#real .see button")
    count = int(way.text.split()[0])
    assert way.text.endswith(f"that only {pair.a} got right")
    way.click()
    cards = page.find_elements(By.CSS_SELECTOR, "#mistakes figure")
    assert len(cards) == count > 0
    for card in cards:
        name = (card.get_attribute("title") or "").rsplit("-", 1)[0]
        for entry, right in ((pair.a, True), (pair.b, False)):
            answers = contest.answers[entry].datasets[name]
            row = answers.ids.index(card.get_attribute("title") or "")
            assert (answers.top[row][:1] == (answers.labels[row],)) is right


def test_one_entry_tells_how_it_was_made(page: Chrome, contest: Any) -> None:
    for name in ("no_training", "clip_bpe", "rivals", "sber_cluster"):
        find(page, f"#entry option[value='{place_of(contest, name)}']").click()
        shown = find(page, "#entry").text
        assert find(page, "#entry h3.title").text == name
        assert f"configs/tiny/{name}.yaml" in shown
    assert "train.stages.0.epochs=10" in shown
    assert "embed_dim: 256" in shown
    assert "AMD EPYC" in shown
    assert page.find_elements(By.CSS_SELECTOR, ".calibration circle")
    find(page, "#entry .copy").click()
    assert find(page, "#entry .copy").text in ("Copied", "Selected: press Ctrl+C", "Copy")


def test_hostile_texts_stay_texts(
    chrome: Chrome, make_fake: Callable[..., Any], entry: Callable[..., Any], tmp_path: Path
) -> None:
    entries = [
        entry(HOSTILE, 0.5, 30.0),
        entry("__proto__", 0.2, 31.0, contamination={HOSTILE: HOSTILE}),
        entry(HOSTILE + "failed", 0, fails=HOSTILE),
    ]
    fake = make_fake(entries, {HOSTILE: (HOSTILE, "constructor", "c")}, 60)
    path = tmp_path / "hostile.html"
    write_page(path, fake.leaderboard, fake.answers, fake.picture)
    show(chrome, path)
    assert (
        chrome.execute_script("return document.querySelectorAll('img[src=x], [onerror]').length")
        == 0
    )
    assert "</script><img src=x onerror=alert(1)><!--U+202E" in find(chrome, ".best .who").text
    assert "</script><img" in find(chrome, ".heat").text
    assert "onerror" in find(chrome, "#leaderboard tbody.failed").text
    check_quiet(chrome, path)


def test_a_board_without_numbers_still_opens(
    chrome: Chrome, make_fake: Callable[..., Any], entry: Callable[..., Any], tmp_path: Path
) -> None:
    fake = make_fake([entry("only", 0, fails="DataError: no such folder")], {}, 1)
    path = tmp_path / "empty.html"
    write_page(path, fake.leaderboard, fake.answers, fake.picture)
    show(chrome, path)
    assert "nobody" in find(chrome, ".best").text
    assert "no such folder" in find(chrome, "#leaderboard").text
    check_quiet(chrome, path)
