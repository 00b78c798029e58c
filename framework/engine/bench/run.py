"""A suite, run: planned, done, gathered into a leaderboard."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from engine.bench.compare import SeedAnswers, Side
from engine.bench.datasets import EvaluatedDataset, evaluated_of
from engine.bench.keys import machine, versions
from engine.bench.leaderboard import Leaderboard
from engine.bench.plan import Task, plan
from engine.bench.rank import Outcome, make_leaderboard
from engine.bench.results import EntryAnswers, Failure, Result, names_of, read_fact
from engine.bench.schedule import Doing, Failures, Watch, run_tasks
from engine.bench.suite import SuiteSettings
from engine.contracts.dataset import Dataset
from engine.core.files import locked
from engine.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from PIL.Image import Image

LEADERBOARD, PAGE, LOCK = "leaderboard.json", "leaderboard.html", ".lock"

BENCHES = Path("build/bench")
"""Where `engine bench` puts each suite's folder."""

Run = Callable[..., Failures]

_WAIT = 1.0
"""Seconds: a killed bench may need a moment until it is gone."""


@dataclass(frozen=True)
class Bench:
    """A suite that was run.

    Attributes:
        leaderboard: the leaderboard.
        answers: of each entry's first seed.
        evaluated: the data sets.
        outcomes: every result with its answers.
    """

    leaderboard: Leaderboard
    answers: Mapping[str, EntryAnswers]
    evaluated: Sequence[EvaluatedDataset]
    outcomes: Sequence[Outcome]

    def picture(self, dataset: str, image: str) -> Image | None:
        """An image of a data set by its id; ``None`` where it cannot be read any more."""
        found = self._pictures.get(dataset)
        return None if found is None else found.get(image)

    @cached_property
    def _pictures(self) -> dict[str, _Pictures]:
        return {each.name: _Pictures(each.open()) for each in self.evaluated}


class _Pictures:
    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._rows = {dataset.record(i).id: i for i in range(len(dataset))}

    def get(self, image: str) -> Image | None:
        row = self._rows.get(image)
        if row is None:
            return None
        try:
            return self._dataset.image(row)
        except Exception:  # broken, or gone since
            return None


def run_suite(
    suite: SuiteSettings,
    out: Path,
    *,
    watch: Watch = lambda done, total, doing: None,
    run: Run = run_tasks,
) -> Bench:
    """Run what is left of a suite, and make its leaderboard.

    Args:
        suite: the suite.
        out: its folder: results, trained models, logs.
        watch: receives how it goes.
        run: runs tasks: here, or on a cluster.

    Raises:
        DataError: a data set is missing or cannot be evaluated on; another bench runs in the
        folder. KeyboardInterrupt, SystemExit: interrupted; what is done is kept.
    """
    evaluated, skipped = evaluated_of(suite)
    with _alone(out):
        started = time.monotonic()

        def counted(name: str, files: int) -> None:
            watch(0, 1, [Doing(name, "looking at its files", started, f"{files:,} files")])

        tasks = plan(suite, evaluated, out, counted=counted)
        failures = run(tasks, jobs=suite.jobs, logs=out / "logs", watch=watch)
        return gather(suite, tasks, evaluated, skipped, failures)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """One bench at a time in a folder.

    Raises:
        DataError: there is another.
    """
    out.mkdir(parents=True, exist_ok=True)
    with locked(
        out / LOCK,
        f"another bench is running in {out}",
        wait=_WAIT,
        hint="wait for it, or give this one a folder of its own: `--folder OTHER`",
    ):
        yield


def gather(
    suite: SuiteSettings,
    tasks: Sequence[Task],
    evaluated: Sequence[EvaluatedDataset],
    skipped: Mapping[str, str],
    failures: Failures,
) -> Bench:
    """The leaderboard of what is there."""
    outcomes: list[Outcome] = []
    failed: dict[str, dict[int, str]] = {}
    results: list[Result] = []
    for task in tasks:
        found = outcome_of(task)
        whys = _whys(task, failures)
        if found is None:
            why = whys[0] if whys else Failure(what="not run yet")
            failed.setdefault(task.entry.name, {})[task.seed] = why.words
            results.append(
                Result(
                    key=task.job.key if task.job else "", entry=task.entry.name, seed=task.seed,
                    provenance=task.provenance, failure=why,
                )
            )  # fmt: skip
            continue
        if whys:  # it answered; a measurement failed
            notes = tuple(f"not measured: {why.what}" for why in whys)
            before = found.result.provenance
            provenance = before.model_copy(update={"warnings": (*before.warnings, *notes)})
            result = found.result.model_copy(update={"provenance": provenance})
            found = Outcome(result, found.answers)
        outcomes.append(found)
    leaderboard = make_leaderboard(
        suite.name, [entry.name for entry in suite.all_entries], outcomes,
        size_buckets=suite.size_buckets, failed=failed, skipped=skipped, failures=results,
        draws=suite.measure.draws,
        provenance={
            "date": time.strftime("%Y-%m-%d %H:%M"), "versions": versions(),
            "machine": machine(), "threads": suite.threads,
        },
    )  # fmt: skip
    firsts: dict[str, EntryAnswers] = {}
    for outcome in outcomes:
        firsts.setdefault(outcome.result.entry, outcome.answers)
    return Bench(leaderboard, firsts, evaluated, outcomes)


def _whys(task: Task, failures: Failures) -> list[Failure]:
    found = [] if task.failure is None else [task.failure]
    return found + [
        failure
        for (entry, seed, _), failure in failures.items()
        if (entry, seed) == (task.entry.name, task.seed)
    ]


def outcome_of(task: Task) -> Outcome | None:
    """The result of a task with its answers and measurements; ``None`` where there is none."""
    found = task.outcome()
    if found is None:
        return None
    result, answers = found
    update = {"speed": task.measured("speed"), "contest": task.measured("contest")}
    return Outcome(result.model_copy(update=update), answers)


def side_of_entry(folder: Path, name: str) -> Side:
    """An entry of a bench that was run, for a comparison.

    Raises:
        DataError: there is no bench, or it has no such entry with answers.
    """
    leaderboard = read_leaderboard(folder)
    found: dict[str, dict[str, list[bool]]] = {}
    kept: dict[str, list[SeedAnswers]] = {}
    seeds = 0
    for result in leaderboard.results:
        if result.entry != name or result.failure is not None:
            continue
        stem = f"{result.entry}.{result.seed}.{result.key[:12]}"
        answers = read_fact(EntryAnswers, folder / "results" / f"{stem}.answers.json")
        if answers is None:
            continue
        seeds += 1
        for dataset, each in answers.datasets.items():
            kept.setdefault(dataset, []).append(SeedAnswers(each.ids, each.for_metrics()))
            rows = found.setdefault(dataset, {})
            ids = [image for image, label in zip(each.ids, each.labels, strict=True) if label >= 0]
            for image, right in zip(ids, each.correct(), strict=True):
                rows.setdefault(image, []).append(right)
    if not seeds:
        known = names_of([result for result in leaderboard.results if result.failure is None])
        raise DataError(
            f"{folder} has no entry `{name}` with answers{did_you_mean(name, known)}",
            hint=f"it has: {', '.join(known)}",
        )
    metrics = leaderboard.row(name).metrics
    return Side(name, found, seeds, metrics, leaderboard.declarations, kept)


def only_bench(folder: Path = BENCHES) -> Path:
    """The bench below a folder, where it is the only one there.

    Raises:
        DataError: there is none, or there are several.
    """
    found = sorted(path.parent for path in folder.glob(f"*/{LEADERBOARD}"))
    if len(found) == 1:
        return found[0]
    if not found:
        raise DataError(
            f"there is no bench in {folder}",
            hint="`engine bench SUITE` runs one; of one elsewhere name the folder: `--folder`",
        )
    names = ", ".join(str(path) for path in found[:10])
    raise DataError(
        f"there are {len(found)} benches in {folder}", hint=f"name one with `--folder`: {names}"
    )


def read_leaderboard(folder: Path) -> Leaderboard:
    """The leaderboard of a bench that was run.

    Raises:
        DataError: there is none.
    """
    path = folder / LEADERBOARD
    try:
        value = json.loads(path.read_bytes())
        for each in value["comparisons"]:
            each.pop("real", None)  # said beside the numbers, for readers of the file
        return Leaderboard.model_validate(value)
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise DataError(
            f"{path} is not a leaderboard of a bench: {what}",
            hint="`engine bench SUITE` writes one; name its folder with `--folder`",
        ) from error
