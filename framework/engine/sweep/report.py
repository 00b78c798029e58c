"""What came out of a sweep: a row for each trial, and what must be said with the winner."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Status = Literal["best", "finished", "stopped", "paused", "planned", "refused", "failed"]


@dataclass(frozen=True)
class RungResult:
    """A training at the end of a rung.

    Attributes:
        scores: of the evaluation there.
        step: the step of the training.
        steps: of the whole training.
    """

    scores: Mapping[str, float]
    step: int
    steps: int


@dataclass(frozen=True)
class TrialRow:
    """A trial as it stands.

    Attributes:
        number: of the trial.
        values: by key.
        bytes: of its weight file.
        status: ``best``, ``finished`` (trained whole), ``stopped`` (others were better), ``paused``
            (the sweep was broken off), ``refused`` (never trained) or ``failed``.
        why: it is refused, or failed.
        rungs: by rung that it reached, its measurements by seed.
        score: the name of the score that counts.
    """

    number: int
    values: Mapping[str, Any]
    bytes: int | None
    status: Status
    why: str
    rungs: Sequence[Mapping[int, RungResult]]
    score: str

    def mean(self, rung: int) -> float:
        """The mean score over the seeds at a rung."""
        return statistics.fmean(each.scores[self.score] for each in self.rungs[rung].values())

    @property
    def result(self) -> float | None:
        """The mean score over the seeds where it got to; ``None`` where it was never evaluated."""
        return self.mean(-1) if self.rungs else None

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds; ``None`` for one seed."""
        if not self.rungs or len(self.rungs[-1]) < 2:
            return None
        return statistics.stdev(each.scores[self.score] for each in self.rungs[-1].values())

    @property
    def trained(self) -> int:
        """Steps that were trained, of all seeds."""
        return sum(each.step for each in self.rungs[-1].values()) if self.rungs else 0

    @property
    def whole(self) -> int:
        """Steps of whole trainings with all seeds; 0 where that is not known."""
        return sum(each.steps for each in self.rungs[-1].values()) if self.rungs else 0

    @property
    def share(self) -> float:
        """How far the training got."""
        return self.trained / self.whole if self.whole else 0.0


@dataclass(frozen=True)
class SweepReport:
    """A sweep as it stands.

    Attributes:
        name: of the sweep.
        config: that is varied.
        score: that counts.
        better: ``higher`` or ``lower``.
        limit: bytes of the weights that are allowed.
        seeds: of each trial.
        rows: the best first: those that got further before the others, then by their score.
        model: of the best trial, an artifact; ``None`` while there is none.
        best_config: its resolved config.
    """

    name: str
    config: str
    score: str
    better: str
    limit: int | None
    seeds: Sequence[int]
    rows: Sequence[TrialRow]
    model: Path | None = None
    best_config: Path | None = None
    data: Sequence[str] = field(default=())

    @property
    def best(self) -> TrialRow | None:
        """The best trial; ``None`` while no trial is trained whole."""
        return next((row for row in self.rows if row.status == "best"), None)

    @property
    def trained(self) -> int:
        """Steps that were trained."""
        return sum(row.trained for row in self.rows)

    @property
    def whole(self) -> int:
        """Steps that training every trial whole would have taken."""
        return sum(row.whole for row in self.rows)

    @property
    def chance(self) -> float | None:
        """The score of a model that guesses, where it is known."""
        if self.score != "accuracy":
            return None
        found = (each for row in self.rows for rung in row.rungs for each in rung.values())
        return next((e.scores["chance"] for e in found if "chance" in e.scores), None)

    def notes(self) -> list[str]:
        """What must be said with the numbers."""
        found: list[str] = []
        best = self.best
        if best is None or best.result is None:
            return found
        high = [each.scores.get("chance_high") for each in best.rungs[-1].values()]
        if self.chance is not None and high[0] is not None and best.result <= high[0]:
            found.append(
                f"the best score, {best.result:.1f} %, is not measurably better than chance"
                f" ({self.chance:.1f} %; guessing reaches up to {high[0]:.1f} %)"
            )
        found.append(
            f"the best of {sum(bool(row.rungs) for row in self.rows)} trials on the same data: its"
            " score is too good by what was chosen for; evaluate it on other data"
        )
        second = next(
            (r for r in self.rows if r.status == "finished" and r.result is not None), None
        )
        if second is None or second.result is None:
            return found
        lead = abs(best.result - second.result)
        if best.spread is None or second.spread is None:
            found.append(
                f"one seed: the lead of {lead:.2f} over trial {second.number} may be chance;"
                " `seeds: [0, 1, 2]` shows how much a score varies"
            )
        elif lead <= max(best.spread, second.spread):
            found.append(
                f"the lead of {lead:.2f} over trial {second.number} is within the spread of the"
                f" seeds ({max(best.spread, second.spread):.2f})"
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """For ``--json`` and ``sweep.json``."""
        return {
            "name": self.name, "config": self.config, "score": self.score, "better": self.better,
            "limit": self.limit, "seeds": list(self.seeds), "chance": self.chance,
            "trained_steps": self.trained, "steps_of_all": self.whole,
            "best": None if self.best is None else self.best.number,
            "model": None if self.model is None else str(self.model),
            "best_config": None if self.best_config is None else str(self.best_config),
            "notes": self.notes(),
            "trials": [
                {
                    "number": row.number, "values": dict(row.values), "bytes": row.bytes,
                    "status": row.status, "why": row.why or None, "score": row.result,
                    "spread": row.spread, "trained_share": row.share,
                    "rungs": [
                        {str(seed): asdict(each) for seed, each in rung.items()}
                        for rung in row.rungs
                    ],
                }
                for row in self.rows
            ],
        }  # fmt: skip


HEADS = ("bytes", "score", "± seeds", "trained", "outcome")
"""Columns behind the number of the trial and its values."""


def short_keys(keys: Sequence[str]) -> list[str]:
    """The last parts of keys, as many as tell them apart."""
    parts = [key.split(".") for key in keys]
    for count in range(1, max(map(len, parts)) + 1):
        found = [".".join(each[-count:]) for each in parts]
        if len(set(found)) == len(found):
            return found
    return list(keys)


def cells(report: SweepReport, row: TrialRow) -> list[str]:
    """A row of the table: the number, the values, then :data:`HEADS`."""
    unit = " %" if report.score.startswith("accuracy") else ""
    status = row.status if not row.why else f"{row.status}: {row.why}"
    return [
        str(row.number),
        *(_value(value) for value in row.values.values()),
        "–" if row.bytes is None else f"{row.bytes:,}",
        "–" if row.result is None else f"{row.result:.2f}{unit}",
        "–" if row.spread is None else f"{row.spread:.2f}",
        f"{100 * row.share:.0f} %" if row.rungs else "–",
        status,
    ]


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
