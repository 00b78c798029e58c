"""A leaderboard for other programs: CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import Any

from engine.bench.formatting import badges, limit_words
from engine.bench.leaderboard import Cell, Leaderboard, Row
from engine.contracts.metric import Declaration

_COUNTS = ("bytes", "parameters")
_SPEEDS = ("load_seconds", "image_ms", "text_ms", "images_per_second", "peak_mb")


def to_csv(leaderboard: Leaderboard) -> str:
    """A line an entry, failed ones too, numbers unrounded.

    The rank under each limit is a best and a worst place (empty: not ranked there). A value that is
    not a number is left empty.

    A text that a spreadsheet would take for a formula gets an apostrophe in front, as spreadsheets
    themselves write it.
    """
    lines = [_record(leaderboard, row) for row in leaderboard.rows]
    keys = list(dict.fromkeys(key for line in lines for key in line))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_plain(key) for key in keys)
    writer.writerows([_plain(line.get(key)) for key in keys] for line in lines)
    return out.getvalue()


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value


def _record(leaderboard: Leaderboard, row: Row) -> dict[str, Any]:
    ranks = {
        place.entry + "\0" + limit_words(size_bucket.limit): place
        for size_bucket in leaderboard.size_buckets
        for place in size_bucket.ranks
    }
    line: dict[str, Any] = {"entry": row.entry}
    for limit in map(limit_words, (size_bucket.limit for size_bucket in leaderboard.size_buckets)):
        place = ranks.get(f"{row.entry}\0{limit}")
        line[f"rank best, {limit}"] = place and place.best
        line[f"rank worst, {limit}"] = place and place.worst
    line |= {name: getattr(row.model_size, name, None) for name in _COUNTS}
    line |= _values("", leaderboard.declarations, row)
    line["chance"] = leaderboard.chance
    for each in leaderboard.datasets:
        line[f"{each.name} chance"] = each.chance
        line |= _values(f"{each.name} ", leaderboard.declarations, row.datasets.get(each.name))
    line["metrics"] = "; ".join(each.words for each in leaderboard.declarations)
    line |= {name: getattr(row.speed, name, None) for name in _SPEEDS}
    line["on bytes front"], line["on ms front"] = row.on_bytes_front, row.on_ms_front
    line["seeds"] = " ".join(map(str, row.seeds))
    line["notes"] = "; ".join(words for _, words in badges(leaderboard, row))
    line["failed"] = "; ".join(f"seed {seed}: {why}" for seed, why in row.failed.items())
    return line


def _values(
    where: str, declarations: Sequence[Declaration], held: Row | Cell | None
) -> dict[str, Any]:
    """Every metric with its interval and its standard deviation over seeds."""
    line: dict[str, Any] = {}
    for each in declarations:
        value = held and held.metrics.get(each.name)
        name = where + each.name
        line[name] = value and value.value
        line[f"{name} low"] = value and value.low
        line[f"{name} high"] = value and value.high
        line[f"{name} sd"] = held and held.spread.get(each.name)
    return line


def to_json(leaderboard: Leaderboard, *, indent: int | None = 1) -> str:
    """Everything that the leaderboard knows, as JSON (numbers that are none as ``null``).

    Comparisons say beside their numbers whether the difference is ``real``.

    Args:
        leaderboard: what is written.
        indent: of each level; ``None``: all on one line.
    """
    value = _finite(leaderboard.model_dump(mode="python"))
    for row, each in zip(value["comparisons"], leaderboard.comparisons, strict=True):
        row["real"] = each.real
    return json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False, default=str) + "\n"


def _finite(value: Any) -> Any:
    """The same without NaN and infinity, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value
