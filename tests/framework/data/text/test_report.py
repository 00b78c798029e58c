"""The page, its charts, and the numbers that follow from the statistics."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.text.bins import binned
from engine.data.text.report import report
from engine.data.text.stats import measure
from engine.data.text.summary import Spread, heaps, to_json

HISTOGRAM = st.dictionaries(st.integers(0, 3000), st.integers(1, 9), min_size=1).map(Counter)


@given(HISTOGRAM)
def test_spread(histogram: Counter[int]) -> None:
    values = sorted(histogram.elements())
    found = Spread.of(histogram)
    assert (found.minimum, found.maximum) == (values[0], values[-1])
    assert math.isclose(found.mean, statistics.fmean(values))
    assert found.median == statistics.median_low(values)
    assert found.p95 == values[math.ceil(0.95 * len(values)) - 1]


@given(HISTOGRAM)
def test_bins_hold_everything(histogram: Counter[int]) -> None:
    bins = binned(histogram)
    assert len(bins) <= 41
    assert sum(count for *_, count in bins) == histogram.total()
    for low, high, count in bins[:-1]:
        assert count == sum(histogram[value] for value in range(low, high + 1))
    assert all(a[1] + 1 == b[0] for a, b in pairwise(bins))


def test_heaps_law_is_found_again() -> None:
    growth = [(n, round(3.5 * n**0.7)) for n in range(1, 200_000, 1000)]
    found = heaps(growth)
    assert found is not None
    assert found == (pytest.approx(3.5, rel=0.02), pytest.approx(0.7, rel=0.01))
    assert heaps([(1, 1), (900, 50)]) is None
    assert heaps([]) is None


class _Balance(HTMLParser):
    """Every element that is opened is closed, in order."""

    _ALONE = frozenset({"meta", "img", "br", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen[tag] += 1
        if tag not in self._ALONE:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.seen[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize(
    "queries",
    [["кот"], ["!!!"], ["<b>жирный</b> &amp; \u202eкот"] * 3, [f"кот номер {i % 40}" * (i % 9)
     for i in range(1, 900)]],
)  # fmt: skip
def test_page(tmp_path: Path, queries: list[str]) -> None:
    lines = [json.dumps({"image": i, "queries": [query]}) for i, query in enumerate(queries)]
    lines = [line for line in lines if '""' not in line]
    (tmp_path / "metadata.json").write_text("\n".join([*lines, "bad"]), encoding="utf-8")
    found = measure(tmp_path)
    html = report(found)
    balance = _Balance()
    balance.feed(html)
    assert not balance.open
    assert balance.seen["svg"] >= 3
    assert html.count('class="stack"') == 2
    assert balance.seen["b"] == html.count("<b>") + html.count('<b title="')
    assert "жирный</b>" not in html
    for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        ElementTree.fromstring(svg)  # well-formed
        assert "nan" not in svg
    assert "Lines left out" in html
    json.loads(json.dumps(to_json(found), allow_nan=False))
