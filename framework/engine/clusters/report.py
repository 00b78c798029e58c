"""Clusters as one HTML page: a map of the texts, names, sizes, typical texts, what is confused."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from engine.clusters.flatten import flatten
from engine.clusters.report_style import STYLE
from engine.clusters.store import Clusters
from engine.data.text.page import facts, page, text

WIDTH, HEIGHT = 1000, 640
"""Of the map, in its own units."""

TABLE = 40
"""Clusters above which the table of mistakes gives way to the list of the worst."""

WORST = 8
"""Pairs of clusters in that list."""

_MARGIN = 36
_LABEL = 24


def page_of(clusters: Clusters, title: str) -> str:
    """The page.

    Args:
        clusters: fitted.
        title: whose they are: the name of a model or a folder.
    """
    colours = "".join(
        f".k{i} {{ --own: {colour(i)}; }}\n"
        f"body:has(#show-{i}:checked) .map circle:not(.k{i}) {{ fill-opacity: .05; }}\n"
        f"body:has(#show-{i}:checked) .map text:not(.k{i}) {{ opacity: .12; }}\n"
        f"body:has(#show-{i}:checked) .cluster:not(.k{i}) {{ display: none; }}\n"
        for i in range(clusters.count)
    )
    body = [
        _head(clusters, title),
        _map(clusters),
        f'<div class="grid">{"".join(_card(clusters, i) for i in range(clusters.count))}</div>',
        _mistakes(clusters),
        _scores(clusters),
        f"<footer><p>{escape(_FOOTER)}</p></footer>",
    ]
    return page(f"{title}: clusters", STYLE + colours, body)


def colour(index: int) -> str:
    """Of a cluster: by the golden angle, so that neighbours in number differ most."""
    lightness = (0.62, 0.74)[index % 2]
    return f"oklch({lightness} 0.16 {(25 + 137.508 * index) % 360:.1f})"


_FOOTER = (
    "An n-gram's place on the map is t-SNE's: neighbours are alike, distances and sizes of clouds"
    " mean little. Terms are those that stand in a cluster surely more often than elsewhere"
    " (log-odds ratio); typical texts are nearest to the cluster's middle. Held-out n-grams were"
    " kept from the classifier that was evaluated; the classifier in use has learned from all."
)


def _head(clusters: Clusters, title: str) -> str:
    document = clusters.document
    accuracy = clusters.accuracy
    pairs = [
        ("clusters", f"{clusters.count}"),
        ("n-grams", f"{len(document.texts):,} of {document.distinct:,}"),
        ("queries read", f"{document.read:,}"),
        ("embedder", str(document.embedder.used["use"])),
        ("clusterer", str(document.clusterer["use"])),
        ("held out, classified right", "–" if accuracy is None else f"{100 * accuracy:.1f} %"),
    ]
    warnings = "".join(
        f'<p class="warning" role="note"><b>Note</b> {text(line, 600)}</p>'
        for line in clusters.warnings
    )
    kind = '<p class="kind">Clusters of meaning</p>'
    return f"<header>{kind}<h1>{text(title)}</h1>{facts(pairs)}{warnings}</header>"


def _map(clusters: Clusters) -> str:
    rows, places = clusters.map_rows, flatten(clusters.map_components)
    span = np.array([WIDTH - 2 * _MARGIN, HEIGHT - 2 * _MARGIN])
    top = np.maximum(places.max(axis=0, initial=0), 1e-9)
    points = _MARGIN + places / top * span
    radius = 3.2 if len(rows) > 500 else 5.0
    labels = clusters.labels[rows]
    dots = "".join(
        f'<circle class="k{label}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}">'
        f"<title>{_plain(clusters.document.texts[row])}</title></circle>"
        for row, label, (x, y) in zip(rows.tolist(), labels.tolist(), points, strict=True)
    )
    names = "".join(_label(clusters, i, points[labels == i]) for i in range(clusters.count))
    shown = f"{len(rows):,} n-grams"
    if len(rows) < len(clusters.document.texts):
        shown = f"{len(rows):,} of {len(clusters.document.texts):,} n-grams"
    return (
        '<section class="card wide"><h2>A map of the texts</h2>'
        f'<p class="note">{shown}; choose a cluster, or point at a dot to read it</p>'
        f'{_chips(clusters)}<svg class="map" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="map of the n-grams, coloured by cluster">{dots}{names}</svg></section>'
    )


def _label(clusters: Clusters, index: int, points: np.ndarray) -> str:
    """A cluster's name at its dot nearest to the middle of its dots."""
    if not len(points):
        return ""
    middle = np.median(points, axis=0)
    x, y = points[((points - middle) ** 2).sum(axis=1).argmin()]
    cluster = clusters.document.clusters[index]
    name = _short(cluster.terms[0] if cluster.terms else cluster.name)
    x = min(max(x, 90), WIDTH - 90)
    return f'<text class="k{index}" x="{x:.0f}" y="{y:.0f}" font-size="17">{_plain(name)}</text>'


def _chips(clusters: Clusters) -> str:
    """Radio buttons that single a cluster out by CSS alone."""
    chips = ['<input type="radio" name="show" id="show-all" checked>'
             '<label for="show-all"><span>All</span></label>']  # fmt: skip
    chips += [
        f'<input type="radio" name="show" id="show-{i}"><label for="show-{i}" class="k{i}">'
        f'<i class="dot"></i><span>{text(_short(cluster.name, 48))}</span></label>'
        for i, cluster in enumerate(clusters.document.clusters)
    ]
    return f'<fieldset class="chips"><legend>Show</legend>{"".join(chips)}</fieldset>'


def _card(clusters: Clusters, index: int) -> str:
    cluster = clusters.document.clusters[index]
    share = 100 * cluster.size / len(clusters.document.texts)
    terms = "".join(f"<li>{text(term)}</li>" for term in cluster.terms)
    typical = "".join(f"<li>{text(line)}</li>" for line in cluster.typical)
    return (
        f'<section class="card cluster k{index}"><h2><i class="dot"></i>'
        f"<span>{text(cluster.name)}</span><small>{index}</small></h2>"
        f'<div class="share"><i style="width:{share:.2f}%"></i></div>'
        f'<p class="note">{cluster.size:,} n-grams ({share:.1f} %), {cluster.occurrences:,}'
        f' occurrences</p><ul class="terms">{terms}</ul><ul class="typical">{typical}</ul>'
        "</section>"
    )


def _mistakes(clusters: Clusters) -> str:
    """What the classifier did with held-out n-grams."""
    table = clusters.confusion
    asked = int(table.sum())
    if not asked:
        return ""
    wrong = asked - int(np.trace(table))
    note = (
        f"{asked:,} n-grams held out, {wrong:,} put into another cluster."
        " Rows: where one belongs; columns: what the classifier said."
    )
    grid = _table(clusters) if clusters.count <= TABLE else ""
    return (
        '<section class="card wide" style="margin-top:1rem"><h2>What the classifier confuses</h2>'
        f'<p class="note">{note}</p>{grid}{_worst(clusters)}</section>'
    )


def _table(clusters: Clusters) -> str:
    names = clusters.names
    head = "".join(f'<th scope="col" title="{_plain(n)}">{i}</th>' for i, n in enumerate(names))
    rows = []
    for i, (name, row) in enumerate(zip(names, clusters.confusion.tolist(), strict=True)):
        total = max(1, sum(row))
        cells = "".join(_cell(value, value / total, right=i == j) for j, value in enumerate(row))
        rows.append(f'<tr><th scope="row">{i} {text(_short(name, 36))}</th>{cells}</tr>')
    return (
        f'<div class="scroll"><table><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(value: int, share: float, *, right: bool) -> str:
    if not value:
        return '<td class="none"></td>'
    part = 100 * share**0.5  # by the root, so that single mistakes can be seen
    kind = f"{'right' if right else 'wrong'}{' deep' if part > 45 else ''}"
    return f'<td class="{kind}" style="--part:{part:.0f}">{value:,}</td>'


def _worst(clusters: Clusters) -> str:
    wrong = clusters.confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:WORST]
    pairs = [(divmod(int(place), clusters.count), int(wrong.flat[place])) for place in order]
    names = clusters.names
    items = "".join(
        f"<li>{count:,} of “{text(names[own])}” into “{text(names[said])}”</li>"
        for (own, said), count in pairs
        if count
    )
    return f'<ol class="pairs">{items}</ol>' if items else ""


def _scores(clusters: Clusters) -> str:
    """The curve from which the number of clusters was chosen."""
    scores = sorted((int(number), score) for number, score in clusters.document.scores.items())
    if len(scores) < 2:
        return ""
    numbers, values = [n for n, _ in scores], [s for _, s in scores]
    low, high = min(values), max(values)
    points = [
        (
            46 + 540 * (n - numbers[0]) / (numbers[-1] - numbers[0]),
            12 + 130 * (high - s) / ((high - low) or 1),
        )
        for n, s in scores
    ]
    line = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{5 if n == clusters.count else 2.5}">'
        f"<title>{n} clusters: {s:.4f}</title></circle>"
        for (x, y), (n, s) in zip(points, scores, strict=True)
    )
    texts = (
        f'<text x="40" y="16" text-anchor="end">{high:.3f}</text>'
        f'<text x="40" y="146" text-anchor="end">{low:.3f}</text>'
        f'<text x="46" y="166">{numbers[0]}</text>'
        f'<text x="586" y="166" text-anchor="end">{numbers[-1]} clusters</text>'
    )
    return (
        '<section class="card wide" style="margin-top:1rem"><h2>How many clusters</h2>'
        f'<p class="note">The mean silhouette of each number; {clusters.count} was chosen</p>'
        '<svg class="curve" viewBox="0 0 600 172" style="max-width:44rem" role="img"'
        f' aria-label="score by number of clusters"><line x1="46" x2="586" y1="150" y2="150"/>'
        f'<path d="{line}"/>{dots}{texts}</svg></section>'
    )


def _short(value: str, longest: int = _LABEL) -> str:
    return value if len(value) <= longest else value[: longest - 1].rstrip() + "…"


def _plain(value: str) -> str:
    """Untrusted text where no element may stand: a title, an attribute."""
    return escape("".join(c if c.isprintable() else "\ufffd" for c in _short(value, 200)))


def table_rows(clusters: Clusters) -> Sequence[tuple[str, ...]]:
    """For a terminal: number, name, n-grams, share, occurrences, right when held out, typical."""
    rows = []
    for i, cluster in enumerate(clusters.document.clusters):
        asked = int(clusters.confusion[i].sum())
        right = f"{clusters.confusion[i, i] / asked:.0%}" if asked else "-"
        share = f"{cluster.size / len(clusters.document.texts):.1%}"
        rows.append(
            (str(i), cluster.name, f"{cluster.size:,}", share, f"{cluster.occurrences:,}", right,
             "; ".join(cluster.typical[:3]))
        )  # fmt: skip
    return rows
