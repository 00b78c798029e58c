"""Clusters of 20,000 vectors 1,024 wide: `agglomerative_knn` against scikit-learn, in one run.

Fitting: scikit-learn's `AgglomerativeClustering` (ward) and Engine's clusterer, each in a process
of its own, on the same vectors: seconds of the fit alone, and the most memory that the process
took (`ratio`, target: at least 8; the same partition: `ari_5000` and `ari_20000` are 1.0).
Assigning 5,000 more vectors: scikit-learn's `KNeighborsClassifier.predict` and Engine's `predict`
in turn (`assign_ratio`, target: at least 2; `labels_equal`), and how long it takes over the one
matrix product that it cannot do without (`assign_over_product`, target: at most 1.5).
The vectors are 60 overlapping clouds of uneven size on the sphere.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import arguments, finish, in_turn, median_ratio
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

WIDTH, CLUSTERS, NEIGHBOURS = 1024, 10, 4
SIZES = (5_000, 20_000)
MORE = 5_000
JOBS = ("scikit-learn", "Engine")


def vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Unit vectors: 60 centres in 12 groups, noise about as long as a centre is from its group."""
    random = np.random.default_rng(seed)

    def directions(number: int) -> NDArray[np.float64]:
        return random.standard_normal((number, WIDTH)) / np.sqrt(WIDTH)

    centres = np.repeat(directions(12), 5, axis=0) + 0.7 * directions(60)
    cloud = random.choice(60, count, p=random.dirichlet(np.full(60, 2.0)))
    found = centres[cloud] + directions(count)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found.astype(np.float32)


def make_clusterer() -> Any:
    """Engine's, as a config would make it."""
    from engine_plugins.clusterers.agglomerative_knn import AgglomerativeKnn
    from engine_plugins.clusterers.settings import AgglomerativeKnnSettings

    return AgglomerativeKnn(AgglomerativeKnnSettings(count=CLUSTERS, neighbours=NEIGHBOURS))


def fit_here(job: str, source: Path, target: Path) -> None:
    """Fit once in this process; writes the labels, prints seconds and megabytes (10^6)."""
    data = np.load(source)
    fit: Callable[[], NDArray[Any]]
    if job == "Engine":
        clusterer = make_clusterer()
        fit = lambda: clusterer.cluster(data)  # noqa: E731
    else:
        from sklearn.cluster import AgglomerativeClustering

        fit = lambda: AgglomerativeClustering(CLUSTERS, linkage="ward").fit_predict(data)  # noqa: E731
    start = time.perf_counter()
    labels = fit()
    seconds = time.perf_counter() - start
    np.save(target, labels)
    print(json.dumps({"seconds": seconds, "peak_mb": peak_mb()}))


def peak_mb() -> float:
    """The most memory that this process had, in megabytes (10^6).

    From Linux's account of this program alone: what `getrusage` says starts with the parent's.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def fit_apart(job: str, source: Path, folder: Path) -> tuple[float, float, NDArray[Any]]:
    """Fit in a process of its own: seconds, megabytes, labels."""
    target = folder / f"{job}.npy"
    command = [sys.executable, __file__, "--fit", job, str(source), str(target)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures = json.loads(done.stdout)
    return figures["seconds"], figures["peak_mb"], np.load(target)


def measure_fits(table: Table) -> dict[str, float]:
    """Both sizes, both programs."""
    from sklearn.metrics import adjusted_rand_score

    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        for size in SIZES:
            source = Path(name) / "vectors.npy"
            np.save(source, vectors(size))
            slow, fast = (fit_apart(job, source, Path(name)) for job in JOBS)
            ari = float(adjusted_rand_score(slow[2], fast[2]))
            table.add_row(
                f"fit {size:,}", f"{slow[0]:.1f} s", f"{fast[0]:.1f} s", f"{slow[0] / fast[0]:.1f}",
                f"adjusted Rand index {ari:.6f}; {slow[1]:,.0f} and {fast[1]:,.0f} MB",
            )  # fmt: skip
            figures |= {
                f"ari_{size}": ari, f"ratio_{size}": slow[0] / fast[0],
                f"peak_mb_{size}": fast[1], f"peak_mb_{size}_sklearn": slow[1],
            }  # fmt: skip
    largest = SIZES[-1]
    return {
        **figures, "ratio": figures[f"ratio_{largest}"], "peak_mb": figures[f"peak_mb_{largest}"],
        "peak_mb_sklearn": figures[f"peak_mb_{largest}_sklearn"],
    }  # fmt: skip


def seconds_of(job: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def product(new: NDArray[np.float32], known: NDArray[np.float32]) -> None:
    """The matrix product alone, in blocks of 1,024 rows, a block a thread."""
    from engine_plugins.clusterers.neighbours import run_blocks

    run_blocks(lambda start: new[start : start + 1024] @ known.T, range(0, len(new), 1024))


def measure_assigning(rounds: int, table: Table) -> dict[str, object]:
    """20,000 known vectors, 5,000 new ones."""
    from sklearn.neighbors import KNeighborsClassifier

    known, new = np.split(vectors(SIZES[-1] + MORE), [SIZES[-1]])
    ours = make_clusterer()
    ours.count = CLUSTERS
    # Any labels do for the time; by one direction's sign and size, so that clusters are cut
    # through and votes are close.
    labels = np.digitize(known[:, 0], np.quantile(known[:, 0], np.linspace(0, 1, 11)[1:-1]))
    labels = labels.astype(np.int64)
    ours.learn(known, labels)
    theirs = KNeighborsClassifier(NEIGHBOURS).fit(known, labels)
    equal = bool((ours.predict(new) == theirs.predict(new)).all())
    slow, fast, alone = in_turn(
        rounds,
        lambda: seconds_of(lambda: theirs.predict(new)),
        lambda: seconds_of(lambda: ours.predict(new)),
        lambda: seconds_of(lambda: product(new, known)),
    )
    figures: dict[str, object] = {
        "assign_ratio": median_ratio(slow, fast),
        "assign_over_product": median_ratio(fast, alone),
        "labels_equal": equal,
    }
    seconds = [statistics.median(some) for some in (slow, fast, alone)]
    table.add_row(
        f"assign {MORE:,}", f"{seconds[0]:.2f} s", f"{seconds[1]:.2f} s",
        f"{figures['assign_ratio']:.1f}",
        f"labels {'equal' if equal else 'DIFFER'}; {figures['assign_over_product']:.2f} of the"
        f" product's own {seconds[2]:.2f} s",
    )  # fmt: skip
    return figures


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--fit", nargs=3, metavar=("JOB", "SOURCE", "TARGET"), help="(inner use)")
    options = parser.parse_args()
    if options.fit:
        fit_here(options.fit[0], Path(options.fit[1]), Path(options.fit[2]))
        return
    table = Table(title=f"{WIDTH} wide, {CLUSTERS} clusters, {NEIGHBOURS} neighbours")
    for column in ("job", "scikit-learn", "Engine", "ratio", ""):
        table.add_column(column, justify="left" if column in ("job", "") else "right")
    figures = {**measure_assigning(options.rounds, table), **measure_fits(table)}
    Console().print(table)
    finish(options.json, figures)


if __name__ == "__main__":
    main()
