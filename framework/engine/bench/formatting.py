"""How a leaderboard is put into words, the same in every form: terminal, page, Markdown, CSV."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from engine.bench.leaderboard import Leaderboard, Rank, Row
from engine.bench.results import Result

RANDOM = "RANDOM weights"
"""How a warning of random weights begins, behind the part's name."""


def limit_words(limit: int | None) -> str:
    """``50 MB``, exact; ``no limit``."""
    if limit is None:
        return "no limit"
    for unit, one in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if limit >= one:
            return f"{limit / one:.12g} {unit}"
    return f"{limit} B"


def rank_words(place: Rank) -> str:
    """``1``, or ``1-3`` where it is tied."""
    return f"{place.best}" if place.best == place.worst else f"{place.best}-{place.worst}"


def mean(values: Iterable[float | None]) -> float | None:
    """Of those that are known; ``None`` of none."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def chance_words(leaderboard: Leaderboard) -> str:
    """``chance: digits 10.0 %, shapes 4.2 %; mean 7.1 %``; empty without a data set."""
    if leaderboard.chance is None:
        return ""
    each = ", ".join(
        f"{one.name} {one.chance:.1f} %" for one in leaderboard.datasets if one.chance is not None
    )
    mean = f"; mean {leaderboard.chance:.1f} %" if len(leaderboard.datasets) > 1 else ""
    return f"chance: {each}{mean}"


def provenance_words(leaderboard: Leaderboard) -> list[tuple[str, str]]:
    """How the leaderboard came about, each fact in words: ``versions`` as ``engine 0.1.0``."""
    return [
        (
            str(key),
            ", ".join(f"{name} {each}" for name, each in value.items())
            if isinstance(value, Mapping)
            else str(value),
        )
        for key, value in leaderboard.provenance.items()
    ]


def results_of(leaderboard: Leaderboard, entry: str) -> list[Result]:
    """The entry's results, those with numbers first, by seed."""
    found = [result for result in leaderboard.results if result.entry == entry]
    return sorted(found, key=lambda result: (result.failure is not None, result.seed))


def untrained(results: Sequence[Result]) -> bool:
    """Whether a model's weights are random, as they were built.

    A warning alone does not say so: a model that began at random and was then trained is warned of
    permanently, and a model of downloaded weights was not trained by Engine.
    """
    return any(
        result.provenance.source != "predictions"
        and not result.provenance.trained
        and any(RANDOM in warning for warning in result.provenance.warnings)
        for result in results
    )


def common_notes(leaderboard: Leaderboard) -> tuple[str, ...]:
    """Notes that every entry with numbers has, where there are several: reported once for all."""
    evaluated = [row for row in leaderboard.rows if row.accuracy is not None]
    if len(evaluated) < 2:
        return ()
    return tuple(note for note in evaluated[0].notes if all(note in row.notes for row in evaluated))


def badges(leaderboard: Leaderboard, row: Row) -> list[tuple[str, str]]:
    """What a reader must know of an entry: pairs of a kind and its words.

    Kinds are ``failed``, ``untrained``, ``contaminated``, ``without_model`` and ``note``. A note
    that only repeats another badge is left out, and so is one that every entry has.
    """
    found = []
    if row.accuracy is None:
        found.append(("failed", "failed"))
    elif row.failed:
        failed = ", ".join(map(str, row.failed))
        found.append(("failed", f"seed{'s' * (len(row.failed) > 1)} {failed} failed"))
    if untrained(results_of(leaderboard, row.entry)):
        found.append(("untrained", "random weights, never trained"))
    contamination = [name for name, cell in row.datasets.items() if cell.contamination]
    if contamination:
        found.append(("contaminated", f"saw {', '.join(contamination)} in training"))
    if row.model_size is None and row.accuracy is not None:
        found.append(("without_model", "predictions only, model not seen"))
    common = common_notes(leaderboard)
    own = [note for note in row.notes if note not in common and not _in_badges(note, row, found)]
    return found + [("note", note) for note in own]


def _in_badges(note: str, row: Row, found: Sequence[tuple[str, str]]) -> bool:
    kinds = {kind for kind, _ in found}
    if "untrained" in kinds and RANDOM.lower() in note.lower():
        return True
    return "contaminated" in kinds and any(
        cell.contamination and cell.contamination in note for cell in row.datasets.values()
    )
