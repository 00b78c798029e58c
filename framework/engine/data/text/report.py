"""The statistics as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from engine.data.text import charts
from engine.data.text.charts import curve, histogram, human, percent, shares
from engine.data.text.counting import MARKS, SCRIPTS
from engine.data.text.minhash import THRESHOLD
from engine.data.text.page import facts, page, text
from engine.data.text.stats import Stats, TextCount
from engine.data.text.summary import Spread, heaps, share

SHOWN, OPEN = 200, 15
"""Rows of a list of the most frequent, and how many of them are not folded away; JSON has all."""

_STYLE = """
.cards { display: grid; gap: 1rem; grid-template-columns: repeat(12, 1fr); }
.card { grid-column: span 4; padding: 1.1rem 1.2rem; min-width: 0; }
.wide { grid-column: span 6; }
@media (max-width: 70rem) { .card { grid-column: span 6; } .wide { grid-column: span 12; } }
@media (max-width: 44rem) { .card { grid-column: span 12; } }
.list { margin: 0; padding: 0; list-style: none; }
summary { margin-top: .5rem; color: var(--bar); cursor: pointer; font-size: .88rem; }
.list li { display: grid; grid-template-columns: 1fr auto; gap: .1rem .8rem; padding: .22rem 0;
  font-size: .88rem; }
.list li > :first-child { overflow-wrap: anywhere; }
.list b { font-weight: 500; color: var(--soft); font-variant-numeric: tabular-nums; }
.list .track { grid-column: 1 / -1; height: 4px; border-radius: 2px; background: var(--track); }
.list .track i { display: block; height: 100%; min-width: 1px; border-radius: 2px;
  background: var(--bar); }
.rule li { border-bottom: 1px solid var(--line); padding: .45rem 0; }
.rule li:last-child { border: 0; }
.pair bdi { display: block; }
.pair bdi + bdi { color: var(--soft); }
.numbers { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; margin-bottom: .8rem; }
.numbers div { flex: 1 1 8rem; }
.numbers strong { display: block; font-size: 1.7rem; line-height: 1.15; letter-spacing: -.03em; }
.numbers span { color: var(--soft); font-size: .82rem; }
"""


def report(stats: Stats) -> str:
    """The page, as text."""
    name = stats.table.path.absolute().parent.name or str(stats.table.path)
    body = [
        _head(name, stats),
        '<main class="cards">',
        *_lengths(stats),
        _scripts(stats),
        _growth(stats),
        _marks(stats),
        _ngrams(stats),
        _frequent(stats),
        _duplicates(stats),
        _pairs(stats),
        _samples(stats),
        _bad(stats),
        "</main>",
        f"<footer><p>{_method(stats)}</p></footer>",
    ]
    return page(f"{name}: queries", charts.STYLE + _STYLE, body)


def _head(name: str, stats: Stats) -> str:
    counts = stats.counts
    bad = sum(stats.table.bad.values())
    pairs = [
        ("images", f"{counts.images:,}"),
        ("queries", f"{counts.queries:,}"),
        ("different queries", f"{stats.distinct_written:,}"),
        ("words", f"{counts.words:,}"),
        ("different words", f"{stats.distinct_words:,}"),
        ("lines left out", f"{bad:,}"),
    ]
    return (
        f'<header><p class="kind">Queries of a click log</p><h1>{text(name)}</h1>'
        f"{facts(pairs)}</header>"
    )


def _card(title: str, note: str, content: str, kind: str = "") -> str:
    return (
        f'<section class="card {kind}"><h2>{escape(title)}</h2>'
        f'<p class="note">{escape(note)}</p>{content}</section>'
    )


def _lengths(stats: Stats) -> list[str]:
    counts = stats.counts
    cards = []
    for title, found in (
        ("Words in a query", counts.words_per_query),
        ("Letters and digits in a query", counts.letters_per_query),
        ("Queries of an image", counts.queries_per_image),
    ):
        spread = Spread.of(found)
        note = (
            f"mean {spread.mean:.1f}, median {spread.median:,}, 95 % up to {spread.p95:,},"
            f" longest {spread.maximum:,}"
        )
        cards.append(_card(title, note, histogram(found, f"{title}: {note}")))
    return cards


def _scripts(stats: Stats) -> str:
    counts = stats.counts
    names = {"mixed": "several", "digits": "digits only", "none": "no letter or digit"}
    parts = []
    for title, found, whole in (
        ("queries", counts.scripts, counts.queries),
        ("words", counts.word_scripts, counts.words),
    ):
        bars = [(names.get(n, n), share(found[n], whole)) for n in SCRIPTS]
        parts.append(f'<p class="note">{title}</p>{shares(bars, f"scripts of {title}")}')
    note = "Scripts, not languages: a query of a few words does not tell its language surely."
    return _card("Scripts", note, "<br>".join(parts))


def _growth(stats: Stats) -> str:
    if not stats.growth:
        return ""
    law = heaps(stats.growth)
    note = f"{human(stats.distinct_words)} different words among {human(stats.counts.words)}"
    if law is not None:
        note += f"; dashed: Heaps' law, {law[0]:.3g} · n^{law[1]:.2f}"
    return _card("Growth of the vocabulary", note, curve(stats.growth, law, note))


def _duplicates(stats: Stats) -> str:
    counts = stats.counts
    with_words = counts.queries - counts.words_per_query[0]
    numbers = [
        (share(counts.queries - stats.distinct_written, counts.queries),
         "of queries stood there before, as written"),
        (share(with_words - stats.distinct_texts, with_words),
         "with case and punctuation left aside"),
        (share(stats.near, stats.distinct_texts),
         "of different texts have an earlier near duplicate"),
    ]  # fmt: skip
    shown = "".join(f"<div><strong>{percent(n)}</strong><span>{t}</span></div>" for n, t in numbers)
    maximum = _bars(stats.texts, stats.counts.queries)
    note = "over the whole table; below, the most frequent texts"
    return _card("Duplicates", note, f'<div class="numbers">{shown}</div>{maximum}', "wide")


def _marks(stats: Stats) -> str:
    counts = stats.counts
    rows = [(name, counts.marks[key]) for key, name in MARKS.items()]
    rows.sort(key=lambda row: -row[1])
    return _card("What queries hold", "share of queries", _bars(rows, counts.queries, True))


def _ngrams(stats: Stats) -> str:
    note = (
        f"the {min(SHOWN, len(stats.ngrams)):,} most frequent of {stats.distinct_ngrams:,}"
        f" ({human(stats.ngram_total)} in all)"
    )
    shown = _bars(stats.ngrams[:SHOWN], None) if stats.ngrams else _nothing()
    return _card("Three words in a row", note, shown, "wide")


def _frequent(stats: Stats) -> str:
    note = f"the {min(SHOWN, len(stats.words))} most frequent of {stats.distinct_words:,}"
    return _card("Words", note, _bars(stats.words[:SHOWN], None) or _nothing(), "wide")


def _bars(rows: Sequence[TextCount], whole: int | None, plain: bool = False) -> str:
    if not rows:
        return ""
    top = max(count for _, count in rows) or 1
    items = []
    for name, count in rows:
        value = f"{count:,}" if whole is None else percent(share(count, whole))
        items.append(
            f"<li><span>{escape(name) if plain else text(name)}</span>"
            f'<b title="{count:,}">{escape(value)}</b>'
            f'<span class="track"><i style="width:{100 * count / top:.2f}%"></i></span></li>'
        )
    return _folded(items, "list")


def _folded(items: list[str], kind: str) -> str:
    """A list of which what is beyond the first rows is opened by a click (no script needed)."""
    more = items[OPEN:]
    shown = f'<ol class="{kind}">{"".join(items[:OPEN])}</ol>'
    if more:
        shown += (
            f"<details><summary>{len(more):,} more</summary>"
            f'<ol class="{kind}">{"".join(more)}</ol></details>'
        )
    return shown


def _pairs(stats: Stats) -> str:
    if not stats.pairs:
        return ""
    items = [f'<li class="pair"><div>{text(a)}{text(b)}</div></li>' for a, b in stats.pairs]
    note = f"similarity of {THRESHOLD} or more (estimated); the later one above"
    return _card("Near duplicates", note, _folded(items, "list rule"), "wide")


def _samples(stats: Stats) -> str:
    items = [f"<li><span>{text(query)}</span></li>" for query in stats.samples]
    note = f"{len(stats.samples)} queries that chance chose, as written"
    return _card("Samples", note, _folded(items, "list rule"), "wide")


def _bad(stats: Stats) -> str:
    bad = stats.table.bad
    if not bad:
        return ""
    listed = "; ".join(f"line {number}: {reason}" for number, reason in stats.table.listed[:10])
    rows = sorted(bad.items(), key=lambda pair: -pair[1])
    content = f'{_bars(rows, None, True)}<p class="note">{escape(listed)}</p>'
    return _card("Lines left out", f"{sum(bad.values()):,} lines", content, "wide")


def _nothing() -> str:
    return '<p class="note">none</p>'


def _method(stats: Stats) -> str:
    return (
        "Words are runs of letters and digits, in lower case. All counts are exact (but for the"
        " chance of two things sharing a hash of 64 bits), except near duplicates: texts whose"
        f" 3-grams of characters overlap by {THRESHOLD} (Jaccard), found by MinHash with 8 bands"
        " of 4 and evaluated by sketches of 256 bits, standard error 0.03. The curve of the"
        f" vocabulary has {len(stats.growth)} measured points."
    )
