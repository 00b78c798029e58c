"""Which choice for each tensor: the frontier of bytes and loss over all combinations.

Each tensor has some choices, each with bytes and a loss; losses are taken to add up. The frontier
holds, for any number of bytes, the combination with the smallest sum of losses: a multiple-choice
knapsack, solved for every limit at once by dynamic programming over undominated partial sums
(Nemhauser and Ullmann, 1969, doi:10.1287/mnsc.15.9.494). It does not depend on a limit, so a larger
limit never gets a worse sum. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

EXACT_STATES = 50_000
"""Up to so many undominated partial sums the frontier is exact; beyond, sums of nearly the same
bytes are merged, and the best of each is kept."""


@dataclass(frozen=True)
class Point:
    """One combination.

    Attributes:
        choices: the index of the choice of each tensor.
        bytes: of all of them.
        loss: the sum of their losses.
    """

    choices: tuple[int, ...]
    bytes: int
    loss: float


@dataclass(frozen=True)
class Frontier:
    """Undominated combinations, by ascending bytes and descending loss.

    Attributes:
        points: the combinations.
        exact: no partial sums had to be merged.
    """

    points: tuple[Point, ...]
    exact: bool

    def best(self, limit: int) -> Point | None:
        """The combination with the smallest loss under a limit; ``None``: the least is above it."""
        found = None
        for point in self.points:
            if point.bytes > limit:
                break
            found = point
        return found


def frontier(
    bytes_: Sequence[Sequence[int]],
    losses: Sequence[Sequence[float]],
    *,
    states: int = EXACT_STATES,
) -> Frontier:
    """The frontier of some tensors.

    Args:
        bytes_: of each choice of each tensor.
        losses: in the same shape, finite.
        states: see ``EXACT_STATES``.
    """
    total, loss = np.zeros(1, np.int64), np.zeros(1)
    back: list[tuple[np.ndarray, np.ndarray]] = []
    exact = True
    for own_bytes, own_losses in zip(bytes_, losses, strict=True):
        count = len(own_bytes)
        sums = (total[:, None] + np.asarray(own_bytes, np.int64)).ravel()
        lost = (loss[:, None] + np.asarray(own_losses, np.float64)).ravel()
        order = np.lexsort((lost, sums))
        least = np.minimum.accumulate(lost[order])
        kept = order[np.concatenate([[True], least[1:] < least[:-1]])]
        if len(kept) > states:
            exact = False
            kept = _merged(kept, sums, states)
        total, loss = sums[kept], lost[kept]
        back.append((kept // count, kept % count))
    points = [
        Point(_choices(back, place), int(total[place]), float(loss[place]))
        for place in _shown(len(total))
    ]
    return Frontier(tuple(points), exact)


_MAX_POINTS = 20_000


def _shown(count: int) -> np.ndarray:
    """Places of the points that are given: all, or evenly spaced ones with both ends."""
    found: np.ndarray = np.unique(
        np.linspace(0, count - 1, min(count, _MAX_POINTS)).astype(np.int64)
    )
    return found


def _merged(kept: np.ndarray, sums: np.ndarray, states: int) -> np.ndarray:
    """Of sums in the same window of bytes the last one, which has the least loss."""
    own = sums[kept]
    window = (own - own[0]) * states // (own[-1] - own[0] + 1)
    last = np.concatenate([window[1:] != window[:-1], [True]])
    last[0] = True
    found: np.ndarray = kept[last]
    return found


def _choices(back: Sequence[tuple[np.ndarray, np.ndarray]], place: int) -> tuple[int, ...]:
    found = []
    for parents, choices in reversed(back):
        found.append(int(choices[place]))
        place = int(parents[place])
    return tuple(reversed(found))
