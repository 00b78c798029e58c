"""The statistics as one HTML page: what its template shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from engine.data.text.bins import binned
from engine.data.text.counting import MARKS, SCRIPTS
from engine.data.text.minhash import THRESHOLD
from engine.data.text.stats import Stats, TextCount
from engine.data.text.summary import Spread, heaps, share
from engine.report import about, human, percent, render, size
from engine.report.chart import Chart
from engine.report.charts import Series, bar_chart, line_chart

SHOWN = 200
"""Rows of a list of the most frequent; the JSON has all."""

Bar = tuple[str, str, float, str]
"""A row of a list: its text, its value in words, the length of its bar (0 to 1), a title."""


@dataclass(frozen=True)
class TextCard:
    """A part of the page.

    Attributes:
        title: the heading.
        note: a line below it.
        chart: what is drawn.
    """

    title: str
    note: str
    chart: Chart


def report(stats: Stats) -> str:
    """The page, as text."""
    name = stats.table.path.absolute().parent.name or str(stats.table.path)
    counts = stats.counts
    bad = stats.table.bad
    return render(
        "engine.data.text/statistics.html",
        title=f"{name}: queries",
        kind="Queries of a click log",
        name=name,
        facts=[
            ("images", f"{counts.images:,}"),
            ("queries", f"{counts.queries:,}"),
            ("different queries", f"{stats.distinct_written:,}"),
            ("words", f"{counts.words:,}"),
            ("different words", f"{stats.distinct_words:,}"),
            ("lines left out", f"{sum(bad.values()):,}"),
        ],
        about=about(
            config="none: these statistics depend on no settings",
            data=[f"{stats.table.path.name}, {size(stats.table.size)}"],
            packages=["numpy"],
            notes=[_method(stats)],
        ),
        lengths=_lengths(stats),
        scripts=_scripts(stats),
        growth=_growth(stats),
        marks=_shares([(MARKS[key], counts.marks[key]) for key in MARKS], counts.queries),
        duplicates=_duplicates(stats),
        texts=_shares(stats.texts, counts.queries),
        ngrams=_counts(stats.ngrams[:SHOWN]),
        ngrams_note=f"the {min(SHOWN, len(stats.ngrams)):,} most frequent of"
        f" {stats.distinct_ngrams:,} ({human(stats.ngram_total)} in all)",
        words=_counts(stats.words[:SHOWN]),
        words_note=f"the {min(SHOWN, len(stats.words))} most frequent of {stats.distinct_words:,}",
        pairs=stats.pairs,
        pairs_note=f"similarity of {THRESHOLD} or more (estimated); the later one above",
        samples=stats.samples,
        bad=_counts(sorted(bad.items(), key=lambda pair: -pair[1])),
        bad_lines=sum(bad.values()),
        listed="; ".join(f"line {number}: {reason}" for number, reason in stats.table.listed[:10]),
    )


def _lengths(stats: Stats) -> list[TextCard]:
    counts = stats.counts
    cards = []
    for title, found, whole in (
        ("Words in a query", counts.words_per_query, "queries"),
        ("Letters and digits in a query", counts.letters_per_query, "queries"),
        ("Queries of an image", counts.queries_per_image, "images"),
    ):
        spread = Spread.of(found)
        note = (
            f"mean {spread.mean:.1f}, median {spread.median:,}, 95 % up to {spread.p95:,},"
            f" longest {spread.maximum:,}"
        )
        unit = title.split(" in ")[0].split(" of ")[0].lower()
        cards.append(TextCard(title, note, _histogram(found, f"{title}: {note}", unit, whole)))
    return cards


def _histogram(counts: Counter[int], label: str, x: str, whole: str) -> Chart:
    """Bars of shares in percent; the last one takes the long tail (`30+`)."""
    bins = binned(counts)
    total = counts.total()
    width = bins[0][1] - bins[0][0]
    bars, titles = [], []
    for low, high, count in bins:
        tail = high - low > width
        bars.append((f"{low}+" if tail else str(low), count / total))
        name = str(low) if low == high else f"{low}–{high}"
        titles.append(f"{name}: {count:,} ({percent(count / total)})")
    return bar_chart(bars, label=label, x=x, y=f"share of {whole}", titles=titles, shares=True)


def _scripts(stats: Stats) -> list[tuple[str, list[tuple[str, float]]]]:
    counts = stats.counts
    names = {"mixed": "several", "digits": "digits only", "none": "no letter or digit"}
    return [
        (title, [(names.get(name, name), share(found[name], whole)) for name in SCRIPTS])
        for title, found, whole in (
            ("queries", counts.scripts, counts.queries),
            ("words", counts.word_scripts, counts.words),
        )
    ]


def _growth(stats: Stats) -> TextCard | None:
    if not stats.growth:
        return None
    law = heaps(stats.growth)
    note = f"{human(stats.distinct_words)} different words among {human(stats.counts.words)}"
    lines = [Series("measured", [(0, 0), *stats.growth])]
    if law is not None:
        k, beta = law
        name = f"Heaps' law, {k:.3g} · n^{beta:.2f}"
        lines.append(Series(name, [(n, k * n**beta) for n, _ in stats.growth], dashed=True))
    chart = line_chart(lines, label=note, x="words read", y="different words", zero=True)
    return TextCard("Growth of the vocabulary", note, chart)


def _duplicates(stats: Stats) -> list[tuple[float, str]]:
    counts = stats.counts
    with_words = counts.queries - counts.words_per_query[0]
    return [
        (share(counts.queries - stats.distinct_written, counts.queries),
         "of queries stood there before, as written"),
        (share(with_words - stats.distinct_texts, with_words),
         "with case and punctuation left aside"),
        (share(stats.near, stats.distinct_texts),
         "of different texts have an earlier near duplicate"),
    ]  # fmt: skip


def _shares(rows: Sequence[TextCount], whole: int) -> list[Bar]:
    """Shares of a whole, the largest first, each bar as long as the share."""
    ordered = sorted(rows, key=lambda row: -row[1])
    return [
        (name, percent(share(count, whole)), share(count, whole), f"{count:,}")
        for name, count in ordered
    ]


def _counts(rows: Sequence[TextCount]) -> list[Bar]:
    """Counts; a bar is as long as the count is beside the largest."""
    top = max((count for _, count in rows), default=0) or 1
    return [(name, f"{count:,}", count / top, "") for name, count in rows]


def _method(stats: Stats) -> str:
    return (
        "Words are runs of letters and digits, in lower case. All counts are exact (but for the"
        " chance of two things sharing a hash of 64 bits), except near duplicates: texts whose"
        f" 3-grams of characters overlap by {THRESHOLD} (Jaccard), found by MinHash with 8 bands"
        " of 4 and evaluated by sketches of 256 bits, standard error 0.03. The curve of the"
        f" vocabulary has {len(stats.growth)} measured points. Bars of shares end at 100 %; bars of"
        " counts are drawn relative to the largest count."
    )
