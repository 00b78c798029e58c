"""Results become a leaderboard: means over seeds, intervals, ranks under limits, comparisons."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.bench.leaderboard import (
    Cell,
    Comparison,
    DatasetFacts,
    Leaderboard,
    Rank,
    Row,
    SizeBucket,
)
from engine.bench.results import Contest, DatasetResult, EntryAnswers, Result, Speed
from engine.contracts.intervals import Interval
from engine.contracts.metric import PRIMARY, Value
from engine.evaluate.metrics import (
    Metrics,
    combine_values,
    declarations_of,
    installed_metrics,
    measure,
)
from engine.evaluate.statistics import bootstrap_interval, holm, paired_test

METHOD = (
    "Accuracy is the plain mean over data sets. 95 % intervals: Bayesian bootstrap over images, and"
    " over trainings where there are several seeds. Pairs: sign-flip test on the same images"
    " (McNemar's exact one for a single data set; Student's t over images and trainings with"
    " several seeds), two-sided, Holm's correction over all pairs. With one seed all of it speaks"
    " of these trained models on new images of the same data sets, not of other trainings."
)

Correct = list[NDArray[np.bool_]]
"""By data set: [seeds, images] right or wrong."""


@dataclass(frozen=True)
class Outcome:
    """A result with its answers."""

    result: Result
    answers: EntryAnswers


def make_leaderboard(
    suite: str,
    entries: Sequence[str],
    outcomes: Sequence[Outcome],
    *,
    size_buckets: Sequence[int],
    failed: Mapping[str, Mapping[int, str]],
    skipped: Mapping[str, str],
    failures: Sequence[Result] = (),
    draws: int = 10_000,
    provenance: Mapping[str, Any] | None = None,
    metrics: Metrics | None = None,
) -> Leaderboard:
    """The leaderboard of a suite.

    Args:
        suite: its name.
        entries: every entry, in order.
        outcomes: what there is; all of the same data sets.
        size_buckets: limits in bytes, the strictest first.
        failed: by entry and seed, why there is no result.
        skipped: data sets left out, each with why.
        failures: results of what failed, to be shown with how they were made.
        draws: of the bootstrap.
        provenance: when, where, by which version.
        metrics: what is computed from the answers; ``None``: every installed metric.
    """
    metrics = installed_metrics() if metrics is None else metrics
    outcomes = [scored(outcome, metrics) for outcome in outcomes]
    by_entry = {name: [o for o in outcomes if o.result.entry == name] for name in entries}
    correct = {name: _correct(some) for name, some in by_entry.items() if some}
    rows = [
        _row(name, by_entry[name], correct.get(name), failed.get(name, {}), draws, metrics)
        for name in entries
    ]
    rows = _fronts(rows)
    comparisons = _compare(rows, by_entry, correct, draws)
    return Leaderboard(
        suite=suite,
        datasets=_facts(outcomes),
        declarations=tuple(
            each
            for each in declarations_of(metrics)
            if any(
                each.name in held.metrics for row in rows for held in (row, *row.datasets.values())
            )
        ),
        skipped=skipped,
        rows=tuple(rows),
        size_buckets=tuple(
            _size_bucket(limit, rows, comparisons) for limit in (*size_buckets, None)
        ),
        comparisons=tuple(comparisons),
        results=(*(outcome.result for outcome in outcomes), *failures),
        method=METHOD,
        provenance=provenance or {},
    )


def _facts(outcomes: Sequence[Outcome]) -> tuple[DatasetFacts, ...]:
    if not outcomes:
        return ()
    return tuple(
        DatasetFacts(name=each.name, images=each.images, classes=each.classes)
        for each in outcomes[0].result.datasets
    )


def _correct(outcomes: Sequence[Outcome]) -> Correct:
    names = list(outcomes[0].answers.datasets)
    return [
        np.array([outcome.answers.datasets[name].correct() for outcome in outcomes])
        for name in names
    ]


def _row(
    name: str,
    outcomes: Sequence[Outcome],
    correct: Correct | None,
    failed: Mapping[int, str],
    draws: int,
    metrics: Metrics,
) -> Row:
    if correct is None:
        return Row(entry=name, seeds=(), failed=failed)
    results = [outcome.result for outcome in outcomes]
    datasets = {}
    for each, right in zip(results[0].datasets, correct, strict=True):
        over_seeds = [result.dataset(each.name) for result in results]
        datasets[each.name] = _cell([one for one in over_seeds if one], right, draws)
    over_datasets = [
        combine_values([each.metrics for each in result.datasets], metrics) for result in results
    ]
    values, spread = _over_seeds(over_datasets, bootstrap_interval(correct, draws=draws))
    speeds = [result.speed for result in results if result.speed]
    contests = [result.contest for result in results if result.contest]
    return Row(
        entry=name,
        seeds=tuple(result.seed for result in results),
        failed=failed,
        model_size=results[0].model_size,
        datasets=datasets,
        metrics=values,
        spread=spread,
        speed=_speed(speeds) if speeds else None,
        contest=_contest(contests) if contests else None,
        notes=_notes(results),
    )


def _cell(seeds: Sequence[DatasetResult], right: NDArray[np.bool_], draws: int) -> Cell:
    interval = bootstrap_interval([right], draws=draws)
    values, spread = _over_seeds([each.metrics for each in seeds], interval)
    return Cell(
        metrics=values,
        spread=spread,
        chance=seeds[0].chance,
        contamination=next((each.contamination for each in seeds if each.contamination), ""),
    )


def _over_seeds(
    seeds: Sequence[Mapping[str, Value]], interval: Interval
) -> tuple[dict[str, Value], dict[str, float]]:
    """Means over seeds and standard deviations, of the metrics that every seed has.

    Args:
        seeds: the values under each seed.
        interval: of the accuracy, whose variance over images and seeds is known apart.
    """
    values, spread = {}, {}
    for name in seeds[0]:
        of_seeds = [each[name] for each in seeds if name in each]
        if len(of_seeds) < len(seeds):
            continue
        plain = [each.value for each in of_seeds]
        mean = math.fsum(plain) / len(plain)
        if len(plain) > 1:
            spread[name] = statistics.stdev(plain)
        values[name] = Value(mean, *(interval if name == PRIMARY else _limits(of_seeds)))
    return values, spread


def _limits(values: Sequence[Value]) -> tuple[float, float] | tuple[()]:
    """Mean limits: the seeds answered the same images, so that their errors do not cancel."""
    known = [each.interval for each in values if each.interval is not None]
    if len(known) < len(values):
        return ()
    lows, highs = zip(*known, strict=True)
    return math.fsum(lows) / len(lows), math.fsum(highs) / len(highs)


def scored(outcome: Outcome, metrics: Metrics) -> Outcome:
    """The outcome with the values of the metrics, computed from its answers."""
    datasets = tuple(
        each.model_copy(
            update={"metrics": measure(outcome.answers.datasets[each.name].for_metrics(), metrics)}
        )
        for each in outcome.result.datasets
    )
    return Outcome(outcome.result.model_copy(update={"datasets": datasets}), outcome.answers)


def _speed(speeds: Sequence[Speed]) -> Speed:
    """Medians over seeds."""

    def median(read: Callable[[Speed], float]) -> float:
        return statistics.median(map(read, speeds))

    return speeds[0].model_copy(
        update={
            "load_seconds": median(lambda s: s.load_seconds),
            "image_ms": median(lambda s: s.image_ms),
            "text_ms": median(lambda s: s.text_ms),
            "images_per_second": median(lambda s: s.images_per_second),
            "texts_per_second": median(lambda s: s.texts_per_second),
            "peak_mb": median(lambda s: s.peak_mb),
        }
    )


def _contest(runs: Sequence[Contest]) -> Contest:
    return sorted(runs, key=lambda each: each.seconds)[(len(runs) - 1) // 2]


def _notes(results: Sequence[Result]) -> tuple[str, ...]:
    found = [warning for result in results for warning in result.provenance.warnings]
    for result in results:
        found += [
            f"{each.name}: {each.contamination}" for each in result.datasets if each.contamination
        ]
        found += [f"{each.name}: {note}" for each in result.datasets for note in each.notes]
        found += [
            f"{each.name}: images without an answer count as wrong: {each.missing:,}"
            for each in result.datasets
            if each.missing
        ]
    return tuple(dict.fromkeys(found))


# ---- ranks ------------------------------------------------------------------------------------


def _fronts(rows: Sequence[Row]) -> list[Row]:
    """The rows, those on a Pareto front marked."""
    light = {row.entry: float(row.model_size.bytes) for row in rows if row.model_size}
    quick = {row.entry: row.speed.image_ms for row in rows if row.speed}
    return [
        row.model_copy(
            update={
                "on_bytes_front": _on_front(row, rows, light),
                "on_ms_front": _on_front(row, rows, quick),
            }
        )
        for row in rows
    ]


def _on_front(row: Row, rows: Sequence[Row], cost: Mapping[str, float]) -> bool:
    if row.accuracy is None or row.entry not in cost:
        return False
    mine = (-cost[row.entry], row.accuracy)
    others = [
        (-cost[o.entry], o.accuracy) for o in rows if o.entry in cost and o.accuracy is not None
    ]
    return not any(
        other[0] >= mine[0] and other[1] >= mine[1] and other != mine for other in others
    )


def _compare(
    rows: Sequence[Row],
    by_entry: Mapping[str, Sequence[Outcome]],
    correct: Mapping[str, Correct],
    draws: int,
) -> list[Comparison]:
    """Every pair of entries with numbers."""
    known = [row for row in rows if row.accuracy is not None]
    ordered = sorted(known, key=lambda row: -(row.accuracy or 0))
    pairs = list(combinations([row.entry for row in ordered], 2))
    tests = [paired_test(correct[a], correct[b], draws=draws) for a, b in pairs]
    corrected = holm([test.p for test in tests])
    found = []
    for (a, b), test, p in zip(pairs, tests, corrected, strict=True):
        names = list(by_entry[a][0].answers.datasets)
        firsts = [
            (name, x[0], y[0]) for name, x, y in zip(names, correct[a], correct[b], strict=True)
        ]
        found.append(
            Comparison(
                a=a, b=b, difference=test.value, interval=(test.low, test.high), p=test.p,
                corrected=p,
                only_a={name: int((x & ~y).sum()) for name, x, y in firsts},
                only_b={name: int((y & ~x).sum()) for name, x, y in firsts},
            )
        )  # fmt: skip
    return found


def _size_bucket(
    limit: int | None, rows: Sequence[Row], comparisons: Sequence[Comparison]
) -> SizeBucket:
    known = [row for row in rows if row.accuracy is not None]
    of_models = [row for row in known if row.model_size is not None]
    without_model = [row for row in known if row.model_size is None]
    under = [
        r for r in of_models if limit is None or (r.model_size and r.model_size.bytes <= limit)
    ]
    over = [row for row in of_models if row not in under]
    ranked = sorted(under, key=lambda row: (-(row.accuracy or 0), row.entry))
    names = {row.entry for row in ranked}
    real = [each for each in comparisons if each.real and {each.a, each.b} <= names]
    ranks = tuple(
        Rank(
            entry=row.entry,
            best=1 + sum(each.b == row.entry for each in real),
            worst=len(ranked) - sum(each.a == row.entry for each in real),
        )
        for row in ranked
    )
    larger = sorted(over, key=lambda row: row.model_size.bytes if row.model_size else 0)
    return SizeBucket(
        limit=limit,
        ranks=ranks,
        over=tuple(row.entry for row in larger),
        without_model=tuple(row.entry for row in without_model),
    )
