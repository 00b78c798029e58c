"""A leaderboard as text: tables for the terminal, Markdown and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from engine.bench.formatting import (
    badges,
    chance_words,
    common_notes,
    limit_words,
    provenance_words,
    rank_words,
)
from engine.bench.leaderboard import Comparison, Leaderboard, Row, SizeBucket
from engine.contracts.metric import PRIMARY, Declaration
from engine.report.words import number, size

_MIN_ENTRY = 22
"""Columns of the terminal that the names of entries may always take."""


@dataclass(frozen=True)
class _Column:
    """A column of a table; of two, the one with the lower ``worth`` gives way first."""

    name: str
    worth: int
    cell: Callable[[Row], str]


def tables(leaderboard: Leaderboard, width: int) -> list[RenderableType]:
    """The leaderboard for a terminal.

    A table for each limit (limits with the same leaderboard share one): tied entries say so in
    their rank (``1-3``), entries over the limit and predictions without a model stand apart,
    unranked. Then what failed, and what must be reported with the rows. Columns that do not fit are
    left out, the least important first.

    Args:
        leaderboard: what to show.
        width: columns of the terminal.
    """
    columns = [
        column for column in _columns(leaderboard) if any(map(column.cell, leaderboard.rows))
    ]
    found: list[RenderableType] = []
    for limits, size_bucket in _grouped(leaderboard.size_buckets):
        found += [_table(leaderboard, limits, size_bucket, columns, width), Text()]
    return found + list(_footnotes(leaderboard))


def _grouped(size_buckets: Sequence[SizeBucket]) -> list[tuple[list[int | None], SizeBucket]]:
    """Limits in a row that make the same leaderboard, with that leaderboard."""
    groups: list[tuple[list[int | None], SizeBucket]] = []
    for size_bucket in size_buckets:
        if (
            groups
            and size_bucket.model_copy(update={"limit": groups[-1][1].limit}) == groups[-1][1]
        ):
            groups[-1][0].append(size_bucket.limit)
        else:
            groups.append(([size_bucket.limit], size_bucket))
    return groups


def _title(limits: Sequence[int | None]) -> str:
    first = limits[0]
    title = "no limit" if first is None else f"under {limit_words(first)}"
    if len(limits) > 1:
        title += f" (the same with {', '.join(map(limit_words, limits[1:]))})"
    return title


def _columns(leaderboard: Leaderboard) -> list[_Column]:
    """Every column that the rows have something for, in order of place."""

    def known(value: float | None, digits: int = 1) -> str:
        return "" if value is None else number(value, digits)

    def of_cell(name: str) -> Callable[[Row], str]:
        return lambda row: known(row.datasets[name].accuracy) if name in row.datasets else ""

    def of_speed(name: str, digits: int) -> Callable[[Row], str]:
        return lambda row: known(getattr(row.speed, name, None), digits)

    def interval(row: Row) -> str:
        return "" if row.interval is None else "{:.1f}-{:.1f}".format(*row.interval)

    def of_metric(each: Declaration) -> Callable[[Row], str]:
        return lambda row: known(
            row.metrics[each.name].value if each.name in row.metrics else None, each.digits
        )

    many = len(leaderboard.datasets) > 1
    first = [each for each in leaderboard.declarations if each.name == PRIMARY]
    others = [each for each in leaderboard.declarations if each.name != PRIMARY]
    return [
        _Column("weights", 100, lambda row: size(row.model_size.bytes) if row.model_size else ""),
        *(_Column(each.title, 99, of_metric(each)) for each in first),
        _Column("95 %", 98, interval),
        _Column("± seeds", 41, lambda row: known(row.spread.get(PRIMARY))),
        *(_Column(each.name, 60, of_cell(each.name)) for each in leaderboard.datasets if many),
        *(_Column(each.title, each.priority, of_metric(each)) for each in others),
        _Column("ms/image", 55, of_speed("image_ms", 1)),
        _Column("images/s", 45, of_speed("images_per_second", 0)),
        _Column("load s", 20, of_speed("load_seconds", 2)),
        _Column("peak MB", 22, of_speed("peak_mb", 0)),
    ]


def _table(
    leaderboard: Leaderboard,
    limits: Sequence[int | None],
    size_bucket: SizeBucket,
    columns: Sequence[_Column],
    width: int,
) -> Table:
    groups = [
        [(rank_words(place), place.entry) for place in size_bucket.ranks],
        [("over", entry) for entry in size_bucket.over],
        [("–", entry) for entry in size_bucket.without_model],
    ]
    rows = [leaderboard.row(entry) for group in groups for _, entry in group]
    shown = _fitting(columns, rows, width)
    table = Table(
        title=_title(limits), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD
    )
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("entry", overflow="fold", min_width=8)
    for column in shown:
        table.add_column(Text(column.name), justify="right", no_wrap=True)
    for group, style in zip(groups, ("", "dim", "dim"), strict=True):
        if group and table.row_count:
            table.add_section()
        for rank, entry in group:
            row = leaderboard.row(entry)
            mark = " *" if badges(leaderboard, row) else ""
            cells = [Text(column.cell(row) or "–") for column in shown]
            first = "bold" if rank.split("-")[0] == "1" else style
            table.add_row(rank, Text(f"{_line(entry)}{mark}"), *cells, style=first)
    captions = []
    if size_bucket.over:
        captions.append("over: larger than the limit, not ranked")
    if size_bucket.without_model:
        captions.append("–: predictions alone, not ranked")
    table.caption = "; ".join(captions) or None
    table.caption_justify = "left"
    return table


def _fitting(columns: Sequence[_Column], rows: Sequence[Row], width: int) -> list[_Column]:
    """The columns that fit beside the rank and the entry."""
    names = max((len(row.entry) + 2 for row in rows), default=0)
    left = width - 2 - (4 + 3) - (min(max(names, 8), _MIN_ENTRY) + 3)
    shown = set()
    for column in sorted(columns, key=lambda column: -column.worth):
        need = max([len(column.name), *(len(column.cell(row)) for row in rows)]) + 3
        if need <= left:
            left -= need
            shown.add(column.name)
    return [column for column in columns if column.name in shown]


def _footnotes(leaderboard: Leaderboard) -> Iterable[Text]:
    if chance := chance_words(leaderboard):
        yield Text(_line(chance))
    for row in leaderboard.rows:
        marks = badges(leaderboard, row)
        if marks and row.accuracy is not None:
            words = "; ".join(_line(words) for _, words in marks)
            yield Text.assemble(("* ", "bold"), (_line(row.entry), "bold"), f": {words}")
    for note in common_notes(leaderboard):
        yield Text.assemble(("all entries", "bold"), f": {_line(note)}")
    for row in leaderboard.rows:
        for seed, why in row.failed.items():
            yield Text.assemble(
                ("FAILED ", "bold red"), (_line(row.entry), "bold"), f", seed {seed}: {_line(why)}"
            )
    for name, why in leaderboard.skipped.items():
        yield Text.assemble(("left out ", "yellow"), f"{_line(name)}: {_line(why)}")
    tied = sum(not each.real for each in leaderboard.comparisons)
    if leaderboard.comparisons:
        yield Text(
            f"{tied} of {len(leaderboard.comparisons)} pairs are tied: their difference may be"
            " chance (5 %, Holm)",
            style="dim",
        )
    if leaderboard.method:
        yield Text(_line(leaderboard.method), style="dim")


def _line(text: str) -> str:
    """Untrusted text on one line, without what a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in text)


# --- Markdown ---------------------------------------------------------------------------------


def to_markdown(leaderboard: Leaderboard) -> str:
    """The leaderboard as Markdown: a table for each limit, then pairs, failures and notes."""
    parts = [f"# {_md(leaderboard.suite)}", *_md_facts(leaderboard)]
    columns = [
        column for column in _columns(leaderboard) if any(map(column.cell, leaderboard.rows))
    ]
    for limits, size_bucket in _grouped(leaderboard.size_buckets):
        title = _title(limits)
        parts += [
            f"## {title[0].upper()}{title[1:]}",
            _md_size_bucket(leaderboard, size_bucket, columns),
        ]
    if leaderboard.comparisons:
        parts += ["## Is it real?", _md_pairs(leaderboard.comparisons)]
    notes = list(_md_notes(leaderboard))
    if notes:
        parts += ["## Notes", "\n".join(notes)]
    if leaderboard.method:
        parts.append(_md(leaderboard.method))
    return "\n\n".join(parts) + "\n"


def _md(text: str) -> str:
    """Untrusted text as itself: no markup, no HTML, one line."""
    return re.sub(r"([\\`*_{}\[\]<>|#~&])", r"\\\1", _line(text))


def _md_facts(leaderboard: Leaderboard) -> Iterable[str]:
    names = (f"{_md(each.name)} ({each.images:,} images)" for each in leaderboard.datasets)
    yield f"{len(leaderboard.rows)} entries on {', '.join(names)}."
    if chance := chance_words(leaderboard):
        yield f"{_md(chance[0].upper() + chance[1:])}."
    if leaderboard.provenance:
        yield "\n".join(
            f"- {_md(key)}: {_md(value)}" for key, value in provenance_words(leaderboard)
        )


def _md_table(head: Sequence[str], left: int, rows: Iterable[Sequence[str]]) -> str:
    """Columns after the first ``left`` are numbers."""
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def _md_size_bucket(
    leaderboard: Leaderboard, size_bucket: SizeBucket, columns: Sequence[_Column]
) -> str:
    def line(rank: str, entry: str) -> list[str]:
        row = leaderboard.row(entry)
        return [rank, _md(entry), *(column.cell(row) or "–" for column in columns)]

    head = ["rank", "entry", *(_md(column.name) for column in columns)]
    rows = [line(rank_words(place), place.entry) for place in size_bucket.ranks]
    parts = [_md_table(head, 2, rows) if rows else "Nothing is ranked under this limit."]
    for title, entries in (
        ("Over the limit, not ranked:", size_bucket.over),
        (
            "Predictions alone, of a model whose size is not known; not ranked:",
            size_bucket.without_model,
        ),
    ):
        if entries:
            parts += [title, _md_table(head, 2, [line("–", entry) for entry in entries])]
    return "\n\n".join(parts)


def _md_pairs(comparisons: Sequence[Comparison]) -> str:
    def line(each: Comparison) -> list[str]:
        verdict = "real" if each.real else "tied"
        return [_md(each.a), _md(each.b), verdict, f"{each.difference:+.1f}",
                "{:+.1f} to {:+.1f}".format(*each.interval), p_words(each.corrected)]  # fmt: skip

    head = ["ahead", "behind", "", "points", "95 %", "p, corrected"]
    return _md_table(head, 3, map(line, comparisons))


def p_words(p: float) -> str:
    """``0.032``; ``< 0.0001``."""
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}"


def _md_notes(leaderboard: Leaderboard) -> Iterable[str]:
    for note in common_notes(leaderboard):
        yield f"- all entries: {_md(note)}"
    for row in leaderboard.rows:
        for _, words in badges(leaderboard, row):
            yield f"- {_md(row.entry)}: {_md(words)}"
        for seed, why in row.failed.items():
            yield f"- {_md(row.entry)}, seed {seed} failed: {_md(why)}"
    for name, why in leaderboard.skipped.items():
        yield f"- data set {_md(name)} left out: {_md(why)}"


# --- LaTeX ------------------------------------------------------------------------------------

_TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "↑": r"$\uparrow$",
    "↓": r"$\downarrow$", "±": r"$\pm$", "–": "--",
}  # fmt: skip
"""What has a meaning in LaTeX, or no sign in its usual fonts."""


def to_latex(leaderboard: Leaderboard) -> str:
    """The leaderboard as LaTeX: a ``tabular`` in the style of the package booktabs for each limit.

    The text needs UTF-8, as LaTeX reads it since 2018, and ``\\usepackage{booktabs}``. What stands
    over a limit or is not ranked comes below a rule, as on the terminal.
    """
    columns = [
        column for column in _columns(leaderboard) if any(map(column.cell, leaderboard.rows))
    ]
    parts = [f"% {_line(leaderboard.suite)}: needs \\usepackage{{booktabs}}"]
    if chance := chance_words(leaderboard):
        parts[0] += f"\n% {_line(chance)}"
    for limits, size_bucket in _grouped(leaderboard.size_buckets):
        parts.append(_tex_table(leaderboard, _title(limits), size_bucket, columns))
    return "\n\n".join(parts) + "\n"


def _tex(text: str) -> str:
    """Untrusted text as itself."""
    return "".join(_TEX.get(character, character) for character in _line(text))


def _tex_table(
    leaderboard: Leaderboard, title: str, size_bucket: SizeBucket, columns: Sequence[_Column]
) -> str:
    def line(rank: str, entry: str) -> str:
        row = leaderboard.row(entry)
        cells = (rank, entry, *(column.cell(row) or "–" for column in columns))
        return " & ".join(map(_tex, cells)) + r" \\"

    head = " & ".join(map(_tex, ("rank", "entry", *(column.name for column in columns))))
    apart = [*size_bucket.over, *size_bucket.without_model]
    lines = [
        f"% {title}",
        rf"\begin{{tabular}}{{rl{'r' * len(columns)}}}",
        r"\toprule",
        head + r" \\",
        r"\midrule",
        *(line(rank_words(place), place.entry) for place in size_bucket.ranks),
        *([r"\midrule"] if apart else []),
        *(line("–", entry) for entry in apart),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines)
