"""The leaderboard: results of a suite, gathered, ranked under limits, compared.

This module says what a leaderboard is; ``rank.py`` makes one from results. The terminal, the page
and the files show it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.bench.results import Contest, ModelSize, Pair, Result, Speed, _Fact
from engine.contracts.metric import PRIMARY, Declaration, Value


class _Measured(_Fact):
    metrics: Mapping[str, Value] = {}
    spread: Mapping[str, float] = {}

    @property
    def accuracy(self) -> float | None:
        """Of the metric that ranks, percent; ``None`` where it failed."""
        found = self.metrics.get(PRIMARY)
        return None if found is None else found.value

    @property
    def interval(self) -> Pair | None:
        """The accuracy's 95 % interval."""
        found = self.metrics.get(PRIMARY)
        return None if found is None else found.interval


class Cell(_Measured):
    """An entry on one data set, over its seeds.

    Attributes:
        metrics: means over seeds, by name. Intervals of the accuracy: bootstrap over images (and
            seeds, where there are several). Of others: the metric's own, over images; with several
            seeds the mean of their limits.
        spread: standard deviations over seeds, by metric; empty with one.
        chance: of guessing, percent.
        contamination: what training saw of the data set, in words; empty: nothing that is known.
    """

    chance: float
    contamination: str = ""


class Row(_Measured):
    """An entry, over its seeds.

    Attributes:
        metrics: over data sets, by name, means over seeds; empty where it failed. The accuracy is
            the plain mean over data sets, its interval of that mean over the same data sets.
        spread: standard deviations over seeds, by metric; empty with one.
        entry: its name.
        seeds: those that have a result.
        failed: seeds that have none, each with why.
        model_size: of the model; ``None`` for predictions, whose model nobody has seen.
        datasets: by name.
        speed: medians over seeds; ``None`` where not measured.
        on_bytes_front: no other entry is lighter (or equal) and more accurate.
        on_ms_front: in the same way by milliseconds an image.
        notes: what must be reported with the row: random weights, seen data.
    """

    entry: str
    seeds: tuple[int, ...]
    failed: Mapping[int, str] = {}
    model_size: ModelSize | None = None
    datasets: Mapping[str, Cell] = {}
    speed: Speed | None = None
    contest: Contest | None = None
    on_bytes_front: bool = False
    on_ms_front: bool = False
    notes: tuple[str, ...] = ()


class Rank(_Fact):
    """An entry's place under a limit.

    Attributes:
        best: 1 + the number of entries that are better beyond doubt.
        worst: the number of entries that are not worse beyond doubt, itself counted. Where the two
            differ, it is tied: shown as ``1-3``.
    """

    entry: str
    best: int
    worst: int


class SizeBucket(_Fact):
    """The leaderboard under one limit.

    Attributes:
        limit: bytes; ``None``: no limit.
        ranks: in order of the mean accuracy.
        over: entries that are larger, in order of size: shown apart, never ranked.
        without_model: entries of predictions alone: shown apart, never ranked under a limit.
    """

    limit: int | None
    ranks: tuple[Rank, ...]
    over: tuple[str, ...] = ()
    without_model: tuple[str, ...] = ()


class Comparison(_Fact):
    """Two entries on the same images.

    Attributes:
        a: the one that is ahead on the mean.
        b: the other.
        difference: of the mean accuracies, points.
        interval: 95 %, paired bootstrap.
        p: of the paired test, two-sided.
        corrected: p after Holm's correction over all pairs of the leaderboard.
        only_a: images that only ``a`` got right (first seeds), by data set.
        only_b: in the same way.
    """

    a: str
    b: str
    difference: float
    interval: Pair
    p: float
    corrected: float
    only_a: Mapping[str, int] = {}
    only_b: Mapping[str, int] = {}

    @property
    def real(self) -> bool:
        """Whether the difference is significant at 5 % after correction."""
        return self.corrected < 0.05


class DatasetFacts(_Fact):
    """A data set of the leaderboard: ``images`` are those with a label."""

    name: str
    images: int
    classes: tuple[str, ...]
    described: str = ""

    @property
    def chance(self) -> float | None:
        """The accuracy of guessing, percent; ``None`` where the classes are not known."""
        return 100 / len(self.classes) if self.classes else None


class Leaderboard(_Fact):
    """Everything that is shown.

    Attributes:
        suite: its name.
        datasets: in the suite's order.
        declarations: of the metrics that any row has, in the order of their columns.
        skipped: data sets that are not on this machine, each with why.
        rows: every entry, failed ones too, in the suite's order.
        size_buckets: the strictest limit first; the last one has no limit.
        comparisons: every pair of entries with numbers.
        results: what the rows were made of.
        method: how intervals and tests are made, in words.
        provenance: when, and by which version.
    """

    suite: str
    datasets: tuple[DatasetFacts, ...]
    declarations: tuple[Declaration, ...] = ()
    skipped: Mapping[str, str] = {}
    rows: tuple[Row, ...]
    size_buckets: tuple[SizeBucket, ...]
    comparisons: tuple[Comparison, ...] = ()
    results: tuple[Result, ...] = ()
    method: str = ""
    provenance: Mapping[str, Any] = {}

    @property
    def chance(self) -> float | None:
        """The mean accuracy of guessing, percent; ``None`` without a data set."""
        found = [each.chance for each in self.datasets if each.chance is not None]
        return sum(found) / len(found) if found else None

    def row(self, entry: str) -> Row:
        """The row of that entry; KeyError where there is none."""
        for each in self.rows:
            if each.entry == entry:
                return each
        raise KeyError(entry)
