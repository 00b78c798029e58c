"""Zero-shot evaluation of photographs: `engine eval` against CLIP_benchmark (latest).

Same architecture (ViT-B-32-quickgelu), same weights, pictures, names and templates, the same number
of threads and of cores, float32 on both sides. CLIP_benchmark runs in an environment of its own, by
its own command, with its best batch size and number of workers; Engine at its defaults. The weights
are random, but fixed and centred, so that the answers differ from picture to picture.

The clock runs from a loaded model to the scores: class names, reading the pictures, both towers.
Start-up and loading are out on both sides; `ratio_process` and `ratio_small_process` have them in.

`ratio_small`: 570 photographs, 19 names, one template (target: at least 1). `ratio`: the same
photographs, 1,000 names in 7 templates (target: at least 4). `different`: images whose best class
is not the same on both sides (target: 0). `ratio_again`: Engine's own time without `--cache` over
that of a second evaluation with it.

The photographs are the contest's sample where it lies in ../shared, else made up.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation_given import (
    class_names,
    photographs,
    templates,
    write_artifact,
    write_case,
    write_json,
    write_weights,
)
from measure import ROOT, arguments, finish, median_ratio
from rich.console import Console
from rich.table import Table

PEER = ROOT / "venvs" / "clip_benchmark"
LIBRARIES = ("torch", "torchvision", "open_clip_torch", "pillow")
MISSING = ("requests", "numpy<2.4")
"""What clip-benchmark 1.6.2 needs beside what it asks for: it imports the one, and converts arrays
to numbers in a way that NumPy 2.4 refuses."""
CANDIDATES = [(batch, workers) for workers in (0, 1) for batch in (16, 32, 64)]
"""CLIP_benchmark's batch sizes and workers; 1 stands for one worker a thread."""

TEMPLATE = "a photo of a {}."


@dataclass
class Side:
    """What one tool took and answered in one case, round by round."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    process: list[float] = field(default_factory=list)
    process_cpu: list[float] = field(default_factory=list)
    peak_mb: list[float] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)


def peer_python() -> str:
    """Python of CLIP_benchmark's environment, installed at the first use with our own libraries."""
    python = PEER / "bin" / "python"
    if not (PEER / "bin" / "clip_benchmark").exists():
        from importlib.metadata import version

        say("installing clip-benchmark into venvs/clip_benchmark")
        venv.create(PEER, with_pip=True, clear=True)
        pinned = [f"{name}=={version(name).split('+')[0]}" for name in LIBRARIES]
        pip = [str(python), "-m", "pip", "install", "--quiet", "clip-benchmark",
               *MISSING, *pinned]  # fmt: skip
        if subprocess.run(pip).returncode:
            sys.exit("benchmark: clip-benchmark cannot be installed; it needs a package index")
    return str(python)


# ---- running -----------------------------------------------------------------------------------


def run_job(kind: str, job: dict[str, Any], side: Side, folder: Path) -> None:
    """One process, measured; what it reports is added to ``side``."""
    job = {**job, "result": str(folder / f"{kind}.json"), "output": str(folder / f"{kind}.out")}
    write_json(folder / f"{kind}.job", job)
    python = sys.executable if kind == "ours" else peer_python()
    env = dict(os.environ, OMP_NUM_THREADS=str(job["threads"]), CUDA_VISIBLE_DEVICES="")
    started = time.perf_counter()
    process = subprocess.Popen(
        [python, str(Path(__file__).with_name("evaluation_jobs.py")), kind,
         str(folder / f"{kind}.job")],
        cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"benchmark: {kind} failed:\n{errors[-4000:]}")
    side.result = json.loads(Path(job["result"]).read_text(encoding="utf-8"))
    if kind == "tune":
        return
    side.wall.append(side.result["wall"])
    side.cpu.append(side.result["cpu"])
    side.process.append(seconds)
    side.process_cpu.append(usage.ru_utime + usage.ru_stime)
    side.peak_mb.append(usage.ru_maxrss * 1024 / 1e6)


@dataclass
class Case:
    """A number of names in a number of templates."""

    title: str
    theirs: Side
    ours: Side
    different: int
    classes: int
    largest: float
    accuracies: tuple[float, float]


def compare(
    folder: Path, title: str, given: dict[str, Any], best: dict[str, Any], rounds: int
) -> Case:
    """Both tools in turn."""
    theirs, ours = Side(), Side()
    shared = {"threads": given["threads"]}
    for round_ in range(rounds):
        run_job(
            "theirs",
            shared
            | {
                "pictures": str(folder / "theirs"), "names": str(folder / "names.json"),
                "templates": str(folder / "templates.json"), "weights": given["weights"],
                "batch_size": best["batch_size"], "workers": best["workers"],
            },
            theirs, folder,
        )  # fmt: skip
        say(f"{title}, round {round_ + 1} of {rounds}: CLIP_benchmark {theirs.wall[-1]:.1f} s")
        run_job("ours", shared | our_job(folder, given), ours, folder)
        say(f"{title}, round {round_ + 1} of {rounds}: Engine {ours.wall[-1]:.1f} s")
    a, b = theirs.result["answers"], ours.result["answers"]
    if a.keys() != b.keys():
        sys.exit("benchmark: the two tools did not answer the same images")
    if theirs.result["versions"] != ours.result["versions"]:
        say(f"versions differ: {theirs.result['versions']} and {ours.result['versions']}")
    return Case(
        title, theirs, ours,
        different=sum(a[image][0][0] != b[image][0][0] for image in a),
        classes=len({answer[0][0] for answer in b.values()}),
        largest=max(abs(a[image][1][0] - b[image][1][0]) for image in a),
        accuracies=(theirs.result["accuracy"], ours.result["accuracy"]),
    )  # fmt: skip


def our_job(folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    """Engine's."""
    return {
        "artifact": str(folder / "artifact"),
        "pictures": str(folder / "ours"),
        "truth": str(folder / "gt.json"),
        "threads": given["threads"],
    }


def again(folder: Path, given: dict[str, Any]) -> tuple[float, float, int]:
    """Engine's seconds with a cache that is empty, then with a full one; the tower's rows then."""
    side = Side()
    for _ in range(2):
        run_job("ours", {**our_job(folder, given), "cache": str(folder / "kept")}, side, folder)
    seconds = side.cpu if given["clock"] == "cpu" else side.wall
    return seconds[0], seconds[1], side.result["tower_rows"]


def say(line: str) -> None:
    """Progress."""
    print(line, file=sys.stderr, flush=True)


# ---- figures -----------------------------------------------------------------------------------


def table_of(cases: Sequence[Case], options: Namespace, best: dict[str, Any]) -> Table:
    """What was measured."""
    versions = ", ".join(f"{k} {v}" for k, v in cases[0].ours.result["versions"].items())
    table = Table(
        title=f"{options.images} photographs, {options.threads} threads, medians of rounds in turn",
        caption=f"CLIP_benchmark: batches of {best['batch_size']}, {best['workers']} workers; both:"
        f" {versions}",
    )
    for column in ("", "tool", "evaluation s", "CPU s", "process s", "CPU s", "peak MB",
                   "accuracy %"):  # fmt: skip
        table.add_column(column, justify="left" if column in ("", "tool") else "right")
    for case in cases:
        for tool, side, accuracy in zip(
            ("CLIP_benchmark", "Engine"), (case.theirs, case.ours), case.accuracies, strict=True
        ):
            columns = (side.wall, side.cpu, side.process, side.process_cpu)
            seconds = [f"{statistics.median(column):.1f}" for column in columns]
            peak = f"{max(side.peak_mb):,.0f}"
            table.add_row(case.title, tool, *seconds, peak, f"{accuracy:.2f}")
    return table


def ratios(case: Case, clock: str) -> tuple[float, float]:
    """Theirs over ours: of the evaluation, of the whole process."""
    if clock == "cpu":
        return (
            median_ratio(case.theirs.cpu, case.ours.cpu),
            median_ratio(case.theirs.process_cpu, case.ours.process_cpu),
        )
    return (
        median_ratio(case.theirs.wall, case.ours.wall),
        median_ratio(case.theirs.process, case.ours.process),
    )


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.set_defaults(rounds=3)
    parser.add_argument("--large-rounds", type=int, default=1, help="of 1,000 names (1; 0: none)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--images", type=int, default=570, help="the first so many (570)")
    parser.add_argument("--names", type=int, default=1000, help="of the large case (1000)")
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall",
        help="cpu: seconds of the processors, for a machine that does other work (with --threads"
        " 1)",
    )  # fmt: skip
    options = parser.parse_args()
    peer_python()
    with tempfile.TemporaryDirectory(prefix="evaluation-") as name:
        measure(Path(name), options)


def measure(folder: Path, options: Namespace) -> None:
    """Everything, in a folder of its own."""
    names, truth, source = photographs(folder)
    truth = dict(sorted(truth.items())[: options.images])
    weights = folder / "weights.safetensors"
    some = [source / f"{image}.jpg" for image in list(truth)[::9]]
    write_weights(weights, some, [TEMPLATE.format(each) for each in class_names()[::8]])
    given = {"threads": options.threads, "weights": str(weights), "clock": options.clock}
    small, large = folder / "small", folder / "large"
    write_case(small, names, [TEMPLATE], truth, source)
    write_artifact(small / "artifact", weights, [TEMPLATE])
    tuned = Side()
    job = {
        "pictures": str(small / "theirs"), "names": str(small / "names.json"),
        "templates": str(small / "templates.json"), "count": 128,
        "candidates": [(b, w * options.threads) for b, w in CANDIDATES],
    }  # fmt: skip
    run_job("tune", given | job, tuned, folder)
    best = tuned.result
    say(f"CLIP_benchmark's best: batches of {best['batch_size']}, {best['workers']} workers")
    cases = [compare(small, f"{len(names)} names", given, best, options.rounds)]
    first, second, rows = again(small, given)
    figures: dict[str, object] = {}
    if options.large_rounds:
        write_case(large, class_names()[: options.names], templates(), truth, source)
        write_artifact(large / "artifact", weights, templates())
        title = f"{options.names:,} names x {len(templates())}"
        cases.append(compare(large, title, given, best, options.large_rounds))
        figures["ratio"], figures["ratio_process"] = ratios(cases[1], options.clock)
    figures["ratio_small"], figures["ratio_small_process"] = ratios(cases[0], options.clock)
    plain = cases[0].ours.cpu if options.clock == "cpu" else cases[0].ours.wall
    figures["ratio_again"] = statistics.median(plain) / second
    figures["different"] = sum(case.different for case in cases)
    figures["largest_difference"] = max(case.largest for case in cases)
    Console().print(table_of(cases, options, best))
    for case in cases:
        print(
            f"{case.title}: {case.different} of {len(truth)} best classes differ; {case.classes}"
            f" classes are answered; probabilities differ by {case.largest:.1e} at most"
        )
    print(f"with --cache: {first:.1f} s, then {second:.1f} s ({rows} images through the tower)")
    finish(options.json, figures)


if __name__ == "__main__":
    main()
