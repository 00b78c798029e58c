"""What clusterers promise."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import DataError
from engine.testing.arrays import refuses_others, through_a_file
from engine.testing.common import call, must_raise
from engine.testing.core import fault, rule
from engine.testing.subject import Subject

_CLUSTERER = "engine.contracts.clustering.Clusterer"
_CLUSTER = f"{_CLUSTERER}.cluster"
Vectors = NDArray[np.float32]


class ClustererSubject(Subject):
    """A clusterer."""

    def make(self) -> Any:
        """A new one."""
        return self.target(self.settings)

    @cached_property
    def blobs(self) -> tuple[Vectors, NDArray[np.int64]]:
        """Unit vectors in well parted blobs of different sizes, as many as clusters are wanted."""
        count = self.settings.cluster_count() or 3
        rng = np.random.default_rng(0)
        sizes = [12 + 3 * i for i in range(count)]
        centres = np.eye(count, max(8, count))
        labels = np.repeat(np.arange(count), sizes)
        found = centres[labels] + 0.05 * rng.standard_normal((sum(sizes), centres.shape[1]))
        order = rng.permutation(len(found))
        unit = found / np.linalg.norm(found, axis=1, keepdims=True)
        return unit[order].astype(np.float32), labels[order]

    @property
    def vectors(self) -> Vectors:
        """The blobs, a copy."""
        return self.blobs[0].copy()

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """What a new one finds."""
        found: NDArray[np.int64] = self.make().cluster(self.vectors)
        return found

    @cached_property
    def fitted(self) -> Any:
        """One that found clusters and learned them."""
        made = self.make()
        made.fit(self.vectors)
        return made


SUBJECT = ClustererSubject


@rule(
    contract=_CLUSTER,
    says="Find the clusters: [N, D] float32 -> the label of each, [N] int64, no cluster empty.",
    why="Projections are numbered by these labels, and an empty cluster's would never train.",
    needs=("settings_valid",),
)
def labels(it: ClustererSubject) -> None:
    """Labels of the right type, every one from 0 to count - 1 used, the largest first."""
    made = call(it.make, expected=f"{it.target.__name__}(settings) to give a clusterer")
    vectors = it.vectors
    found = call(made.cluster, vectors, expected="cluster(vectors) to give labels")
    if not isinstance(found, np.ndarray) or found.shape != (len(vectors),):
        fault(f"an array [N], here [{len(vectors)}]",
              str(getattr(found, "shape", type(found).__name__)))  # fmt: skip
    if found.dtype != np.int64:
        fault("int64", str(found.dtype))
    count = getattr(made, "count", None)
    if not isinstance(count, int):
        fault("`count`, a whole number, after cluster()", repr(count))
    wanted = it.settings.cluster_count()
    if wanted is not None and count != wanted:
        fault(f"count {wanted}, as the settings say", f"{count}")
    if found.min() < 0 or found.max() >= count:
        fault(f"labels from 0 to {count - 1} (count is {count})",
              f"labels from {found.min()} to {found.max()}")  # fmt: skip
    sizes = np.bincount(found, minlength=count)
    if not sizes.all():
        fault("no cluster empty", f"cluster {int(sizes.argmin())} of {count} has no vector")
    if sizes.argmax() != 0 and sizes.max() > sizes[0]:
        fault("cluster 0 being the largest",
              f"cluster {int(sizes.argmax())} has {sizes.max()} vectors, cluster 0 {sizes[0]}",
              "Tables and the router's first cluster go by size.")  # fmt: skip
    if not np.array_equal(vectors, it.blobs[0]):
        fault("the vectors to stay as they are", "cluster() changed them in place")


@rule(
    contract=_CLUSTER,
    says="Same input, same labels.",
    why="A run that is repeated, or goes on, must find the clusters that the model has learned.",
    needs=("labels",),
)
def determinism(it: ClustererSubject) -> None:
    """A new clusterer finds the same, whatever was drawn before."""
    np.random.seed(4)
    found = it.make().cluster(it.vectors)
    moved = int((found != it.labels).sum())
    if moved:
        fault(
            "the same labels for the same vectors",
            f"{moved} of {len(found)} labels differ: seed the random numbers from the settings",
        )


@rule(
    contract=_CLUSTER,
    says="DataError: fewer different vectors than clusters, or a vector with NaN or infinity",
    why="The user learns which vector is at fault, instead of getting clusters of nothing.",
    needs=("labels",),
)
def bad_vectors(it: ClustererSubject) -> None:
    """NaN, infinity and too few vectors are DataErrors."""
    for number in (np.nan, np.inf):
        vectors = it.vectors
        vectors[3, 1] = number
        must_raise(
            DataError,
            it.make().cluster,
            vectors,
            expected=f"a DataError for a vector with {number} (check_vectors raises it)",
        )
    same = np.repeat(it.vectors[:1], 40, axis=0)
    must_raise(
        DataError,
        it.make().cluster,
        same,
        expected="a DataError for 40 equal vectors (check_vectors raises it)",
    )


@rule(
    contract=f"{_CLUSTERER}.predict",
    says="[N, D] float32 -> [N] int64: the cluster of each vector, after :meth:`learn`.",
    why="Every text that was not there when the clusters were found gets its cluster this way.",
    needs=("labels",),
)
def predict(it: ClustererSubject) -> None:
    """What it learned it tells again: nine of ten, in well parted blobs."""
    made = it.make()
    own = call(made.fit, it.vectors, expected="fit(vectors) to find clusters and learn them")
    found = call(made.predict, it.vectors, expected="predict(vectors) to give labels")
    if not isinstance(found, np.ndarray) or found.shape != own.shape or found.dtype != np.int64:
        fault("an array [N] int64", f"{type(found).__name__}"
              f" {getattr(found, 'shape', '')} {getattr(found, 'dtype', '')}")  # fmt: skip
    if found.min() < 0 or found.max() >= made.count:
        fault(f"labels from 0 to {made.count - 1}", f"from {found.min()} to {found.max()}")
    right = float((found == own).mean())
    if right < 0.9:
        fault("predict() to tell at least 90 % of the vectors that it learned",
              f"{right:.0%} in well parted blobs")  # fmt: skip
    alone = np.concatenate([made.predict(it.vectors[i : i + 1]) for i in range(5)])
    if not np.array_equal(alone, found[:5]):
        fault("a vector's cluster not to depend on the other vectors", f"{alone} and {found[:5]}")


@rule(
    contract=f"{_CLUSTERER}.learn",
    says="a later call forgets what an earlier one learned",
    why="A clusterer is evaluated on vectors held out of learning, and learns from all afterwards.",
    needs=("predict", "determinism"),
)
def learn_again(it: ClustererSubject) -> None:
    """After learning from a part, some cluster missing, it learns from all as a new one does."""
    made = it.make()
    own = made.cluster(it.vectors)
    kept = own != own.max()
    call(
        made.learn,
        it.vectors[kept],
        own[kept],
        expected="learn() to work where some cluster has no vector",
    )
    part = call(made.predict, it.vectors, expected="predict() after learning from a part")
    if (part == own.max()).any():
        fault("no vector in a cluster that nothing was learned of", f"some in {own.max()}")
    made.learn(it.vectors, own)
    if not np.array_equal(made.predict(it.vectors), it.fitted.predict(it.vectors)):
        fault("a second learn() to forget the first", "it predicts otherwise than a new one")


@rule(
    contract=f"{_CLUSTERER}.arrays",
    says="What :meth:`learn` learned.",
    why="An artifact keeps them, and later texts get their clusters by them.",
    needs=("predict",),
)
def arrays_round_trip(it: ClustererSubject) -> None:
    """A new clusterer with the arrays predicts the same."""
    kept = through_a_file(it.fitted)
    other = it.make()
    call(other.load_arrays, kept, expected="load_arrays to take what arrays() gave")
    if getattr(other, "count", None) != it.fitted.count:
        fault(f"count {it.fitted.count} after load_arrays", repr(getattr(other, "count", None)))
    found = call(other.predict, it.vectors, expected="predict() after load_arrays")
    if not np.array_equal(found, it.fitted.predict(it.vectors)):
        fault("the same labels from a new clusterer after load_arrays", "others")


@rule(
    contract=f"{_CLUSTERER}.load_arrays",
    says="ArtifactError: the arrays are not this clusterer's.",
    why="An artifact may come from anybody.",
    needs=("arrays_round_trip",),
)
def bad_arrays(it: ClustererSubject) -> None:
    """Other arrays are refused."""
    refuses_others(it.make(), through_a_file(it.fitted))


RULES = (
    labels,
    determinism,
    bad_vectors,
    predict,
    learn_again,
    arrays_round_trip,
    bad_arrays,
)
