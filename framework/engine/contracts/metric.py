"""Metrics: numbers that are computed from a model's answers. numpy only, no torch.

Every installed metric is computed wherever its :attr:`Metric.needs` are met: in ``engine eval``, in
the leaderboard of ``engine bench`` (terminal, page, CSV, Markdown, LaTeX, JSON) and in ``engine
bench compare``. Columns, their headings, units and sorting follow from the metric's own
declaration; nothing in Engine names a metric but :data:`PRIMARY`.

A whole metric::

    class MacroF1(Metric):
        \"\"\"Mean over the classes of the F1 score.\"\"\"

        name = "macro_f1"
        heading = "macro-F1"
        unit = "%"
        higher_is_better = True

        def compute(self, answers: Answers) -> float | None:
            ...
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from engine.contracts.intervals import Interval, mover
from engine.contracts.settings import Settings

PRIMARY = "accuracy"
"""The metric that ranks a leaderboard. Its paired tests compare, image by image, which answers are
right, so this one metric has a fixed meaning: percent of the images whose best answer is right."""

NEEDS = frozenset({"labels", "probabilities", "retrieval"})
"""What a metric can need of the answers, see :attr:`Metric.needs`."""

DRAWS = 400
"""Resamples of the bootstrap; a percentile of so many is exact to a twentieth of the interval."""

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Value:
    """One number of the result record.

    Attributes:
        value: in the unit of the metric.
        low: lower end of its 95 % interval; ``None`` where there is no interval.
        high: upper end.
    """

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def interval(self) -> Interval | None:
        """The interval, where there is one."""
        if self.low is None or self.high is None:
            return None
        return Interval(self.low, self.high)


@dataclass(frozen=True)
class RetrievalRanks:
    """Where retrieval put the best right candidate of each query.

    Attributes:
        image_to_text: int64 [queries], for each image with a text of its own: the number of wrong
            texts that are nearer than its nearest right one; 0 is a right text in first place.
        text_to_image: int64 [queries], for each text with an image of its own, in the same way.
        images: number of images, the candidates of ``text_to_image``.
        texts: number of texts, the candidates of ``image_to_text``.
    """

    image_to_text: Indices
    text_to_image: Indices
    images: int
    texts: int


@dataclass(frozen=True)
class Answers:
    """A model's answers to one data set of N images.

    Attributes:
        classes: names of the classes, C of them.
        labels: int64 [N], the right class of each image, an index into ``classes``; -1 where it is
            not known. A metric that needs labels is given the labelled images alone.
        ranked: int64 [N, K], class indices, best first; -1 where there is no answer (an image that
            cannot be read has none). K is 1 where only the best answer is known.
        probabilities: float64 [N, K], of these classes, 0..1; NaN where there is no answer.
            ``None`` where probabilities are not known.
        retrieval: ``None`` where the data set has no queries.
    """

    classes: tuple[str, ...]
    labels: Indices
    ranked: Indices
    probabilities: NDArray[np.float64] | None = None
    retrieval: RetrievalRanks | None = None

    @property
    def best(self) -> Indices:
        """int64 [N], the best answer to each image; -1 for none."""
        return self.ranked[:, 0]

    def take(self, rows: Indices | NDArray[np.bool_]) -> Answers:
        """The answers of some images, in the given order; retrieval stays as it is."""
        chances = None if self.probabilities is None else self.probabilities[rows]
        return replace(
            self, labels=self.labels[rows], ranked=self.ranked[rows], probabilities=chances
        )

    def labelled(self) -> Answers:
        """The answers to images with a label."""
        known = self.labels >= 0
        return self if known.all() else self.take(known)

    def resampled(self, rng: np.random.Generator) -> Answers:
        """As many images, and as many retrieval queries, drawn from these with replacement."""

        def drawn(size: int) -> Indices:
            return rng.integers(size, size=size) if size else np.zeros(0, np.int64)

        found = self.take(drawn(len(self.labels)))
        if self.retrieval is None:
            return found
        ranks = self.retrieval
        return replace(
            found,
            retrieval=replace(
                ranks,
                image_to_text=ranks.image_to_text[drawn(len(ranks.image_to_text))],
                text_to_image=ranks.text_to_image[drawn(len(ranks.text_to_image))],
            ),
        )


@dataclass(frozen=True)
class Declaration:
    """What a metric says of itself, for everything that shows its values.

    Attributes:
        name: the one name in code, JSON, CSV and page.
        heading: title of a column.
        meaning: what it measures, a short sentence.
        unit: ``"%"``, ``"ms"`` ...; empty for a plain number.
        higher_is_better: which end of the scale is the good one.
        digits: decimals that are shown.
        priority: where there is no room for every column, the larger one stays.
        needs: what the answers must hold, see :data:`NEEDS`.
        exported_as: its name in other programs' files of results, by program.
    """

    name: str
    heading: str
    meaning: str = ""
    unit: str = ""
    higher_is_better: bool = True
    digits: int = 1
    priority: int = 0
    needs: tuple[str, ...] = ()
    exported_as: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Heading with the unit and the better end: ``accuracy, % ↑``."""
        unit = f", {self.unit}" if self.unit else ""
        return f"{self.heading}{unit} {'↑' if self.higher_is_better else '↓'}"

    @property
    def words(self) -> str:
        """``accuracy (%, higher is better)``."""
        unit = f"{self.unit}, " if self.unit else ""
        return f"{self.name} ({unit}{'higher' if self.higher_is_better else 'lower'} is better)"


class Metric(ABC):
    """Computes one number from the answers to a data set.

    It is made without a config: ``Class(settings)`` with the defaults of its settings.

    Attributes:
        name: the registered name.
        heading: title of its column.
        unit: ``"%"`` for a value in 0..100, ``"ms"``, ``"MB"`` ...; empty for a plain number.
        higher_is_better: which end of the scale is the good one.
        digits: decimals that tables show.
        needs: of :data:`NEEDS`, what the answers must hold; elsewhere it is left out.
        priority: in a table that is too narrow, columns of the larger priority stay; they also
            stand first.
        exported_as: its name in other programs' layouts, by program (``clip_benchmark``).
    """

    name: ClassVar[str]
    heading: ClassVar[str]
    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = True
    digits: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"labels"})
    priority: ClassVar[int] = 40
    exported_as: ClassVar[Mapping[str, str]] = {}

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @abstractmethod
    def compute(self, answers: Answers) -> float | None:
        """The value on one data set, in the metric's unit.

        The same answers give the same value, in any order of the images.

        Args:
            answers: of at least one image, of labelled ones alone where the metric needs labels.

        Returns:
            A finite number; ``None`` where the metric says nothing of such answers (top-5 accuracy
            of three classes).
        """

    def items(self, answers: Answers) -> NDArray[np.float64] | None:
        """The value of each image, or of each query, by itself; their plain mean is the value.

        With it, two models are compared item by item by an exact test where every item is right or
        wrong (100 or 0). A metric that is not such a mean leaves the default, and is compared by
        swapping the two models' answers at random.

        Args:
            answers: as for :meth:`compute`, which gives a number of them.

        Returns:
            [items] in the metric's unit, in the order of the answers; ``None``: it is not a mean.
        """
        return None

    def interval(self, answers: Answers, value: float) -> tuple[float, float] | None:
        """The value's 95 % interval over new images of the same data set.

        The default is the percentile bootstrap through :meth:`compute` on resampled images, with a
        fixed seed. Return ``None`` where resampling would mislead.

        Args:
            answers: those of which ``value`` was computed.
            value: the result of :meth:`compute`.
        """
        return bootstrap(self.compute, answers, value)

    def combine(self, values: Sequence[Value | None]) -> Value | None:
        """The value over several data sets.

        The default is the plain mean of those that are known, its interval by MOVER.

        Args:
            values: one for each data set; ``None`` where it does not apply.
        """
        return mean_of([each for each in values if each is not None])

    def declaration(self, name: str = "") -> Declaration:
        """What the metric says of itself; ``name`` where it is found under another name."""
        first = (type(self).__doc__ or "").strip().partition("\n")[0].rstrip(".")
        return Declaration(
            name=name or self.name, heading=self.heading, meaning=first, unit=self.unit,
            higher_is_better=self.higher_is_better, digits=self.digits, priority=self.priority,
            needs=tuple(sorted(self.needs)), exported_as=dict(self.exported_as),
        )  # fmt: skip

    def applies(self, answers: Answers) -> bool:
        """Whether the answers hold what the metric needs."""
        there = {
            "labels": bool((answers.labels >= 0).any()),
            "probabilities": answers.probabilities is not None,
            "retrieval": answers.retrieval is not None,
        }
        return all(there.get(need, False) for need in self.needs)


def mean_of(values: Sequence[Value]) -> Value | None:
    """The plain mean of values, its interval by MOVER where each has one; ``None`` of none."""
    if not values:
        return None
    plain = [each.value for each in values]
    mean = math.fsum(plain) / len(plain)
    intervals = [each.interval for each in values]
    known = [each for each in intervals if each is not None]
    if len(known) < len(values):
        return Value(mean)
    return Value(mean, *mover(plain, known))


def bootstrap(
    compute: Callable[[Answers], float | None],
    answers: Answers,
    value: float,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval | None:
    """The percentile bootstrap's 95 % interval (Efron 1979), which always holds the value itself.

    Args:
        compute: the metric's function.
        answers: to be resampled.
        value: what ``compute`` gives of them.
        draws: resamples.
        seed: of the resamples.

    Returns:
        ``None`` where it would say nothing: every resample gives one value (all right, say), or
        most give none.
    """
    rng = np.random.default_rng(seed)
    drawn = [compute(answers.resampled(rng)) for _ in range(draws)]
    known = [each for each in drawn if each is not None and math.isfinite(each)]
    if 2 * len(known) < draws or min(known) == max(known):
        return None
    low, high = np.quantile(known, (0.025, 0.975))
    return Interval(min(value, float(low)), max(value, float(high)))
