"""Distilling 70,000 pairs, beside sentence-transformers: the part `speed` of teach.py."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import ROOT, median_ratio
from teach_jobs import (
    MINILM,
    best_translation,
    cpu_of_children,
    lexicon,
    student_vectors,
    teacher_vectors,
    train,
)

from engine.core.sources import local_path

PAIRS, TEST = 70_000, 1_000
EPOCHS, BATCH = 5, 64
"""As make_multilingual.py of sentence-transformers has them."""

VENV = ROOT / "venvs" / "sentence_transformers"
TRAINER = ("accelerate==1.15.0", "datasets==5.2.0")
"""What the library's trainer needs beside this environment's packages."""

OURS, HALF, PEER = "engine", "engine, teacher in bfloat16", "sentence-transformers"

Measured = tuple[float, float, float]
"""Seconds, CPU seconds, mean cosine to the teacher on held-out pairs."""


def speed(work: Path, share: float, rounds: int) -> dict[str, Any]:
    """Seconds of both and their ratio; the cosine to the teacher on pairs that were held out."""
    training, test = _pairs(share)
    path = work / "speed.tsv"
    path.write_text("".join(f"{ru}\t{en}\n" for ru, en in training), encoding="utf-8")
    test_path = work / "speed_test.json"
    test_path.write_text(json.dumps([ru for ru, _ in test]), encoding="utf-8")
    target = teacher_vectors([en for _, en in test])
    texts = [ru for ru, _ in test]
    jobs: dict[str, Callable[[], Measured]] = {
        OURS: lambda: _engine(work, path, texts, target, "float32"),
        HALF: lambda: _engine(work, path, texts, target, "bfloat16"),
        PEER: lambda: _peer(work, path, test_path, target),
    }
    figures: dict[str, dict[str, list[float]]] = {}
    for _ in range(rounds):
        for name, job in jobs.items():
            for what, value in zip(("seconds", "CPU seconds", "cosine"), job(), strict=True):
                figures.setdefault(what, {}).setdefault(name, []).append(value)
    found: dict[str, Any] = {
        f"{what} {name}": statistics.median(values)
        for what, by_name in figures.items()
        for name, values in by_name.items()
    }
    for what in ("seconds", "CPU seconds"):
        for name in (OURS, HALF):
            found[f"{name}: ratio of {what}"] = median_ratio(
                figures[what][PEER], figures[what][name]
            )
    return {**found, "pairs": len(training), "share": share, "epochs": EPOCHS, "batch": BATCH,
            "English texts": len({en for _, en in training})}  # fmt: skip


def _pairs(share: float) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    data = lexicon()
    order = np.random.default_rng(0).permutation(len(data))[: PAIRS + TEST].tolist()
    records = [data.record(number) for number in order]
    found = [(record.id, best_translation(record)) for record in records]
    rest = found[TEST:]
    return rest[: round(share * len(rest))], found[:TEST]


def _engine(
    work: Path, path: Path, texts: list[str], target: np.ndarray[Any, Any], precision: str
) -> Measured:
    for name in ("speed", "speed_cache"):
        shutil.rmtree(work / name, ignore_errors=True)
    run = train(work / "speed", work / "speed_cache", [
        f"data.train.path={path}", f"train.stages.0.epochs={EPOCHS}",
        f"train.stages.0.batch_size={BATCH}", f"train.teachers.minilm.precision={precision}",
        "train.stages.0.losses=[{use: distill, teacher: minilm, compare: mse}]",
    ])  # fmt: skip
    cosine = (student_vectors(Path(run["model"]), texts) * target).sum(axis=1).mean()
    return run["seconds"], run["cpu"], float(cosine)


def _peer(work: Path, path: Path, test: Path, target: np.ndarray[Any, Any]) -> Measured:
    answer = work / "speed_peer.npy"
    folder = local_path(MINILM)
    command = [_python(), str(ROOT / "benchmarks" / "teach_peer.py"), str(folder), str(path),
               str(test), str(answer), str(EPOCHS), str(BATCH),
               str(work / "speed_peer")]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
                   "TOKENIZERS_PARALLELISM": "false"}  # fmt: skip
    before, start = cpu_of_children(), time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"benchmark: {' '.join(command)} failed:\n{done.stderr}")
    seconds, cpu = time.perf_counter() - start, cpu_of_children() - before
    return seconds, cpu, float((np.load(answer) * target).sum(axis=1).mean())


def _python() -> str:
    """Python of an environment of its own: this one's packages, and those of :data:`TRAINER`."""
    python = VENV / "bin" / "python"
    if not (VENV / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
        site = next((VENV / "lib").glob("python*/site-packages"))
        ours = [path for path in sys.path if path.endswith("site-packages")]
        # addsitedir reads the .pth files there too: an editable installation is nothing else.
        lines = [f"import site; site.addsitedir({path!r})\n" for path in ours]
        (site / "ours.pth").write_text("".join(lines), encoding="utf-8")
        constraints = ["--constraint", str(ROOT / "constraints.txt")]
        command = [str(python), "-m", "pip", "install", "--quiet", *constraints, *TRAINER]
        subprocess.run(command, check=True)
        (VENV / "ready").touch()
    return str(python)
