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
from measure import ROOT
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

PEER = ROOT / "venvs" / "sentence_transformers"


def speed(work: Path, share: float, rounds: int) -> dict[str, Any]:
    """Seconds of both and their ratio; the cosine to the teacher on pairs that were held out."""
    training, test = _pairs(share)
    path = work / "speed.tsv"
    path.write_text("".join(f"{ru}\t{en}\n" for ru, en in training), encoding="utf-8")
    test_path = work / "speed_test.json"
    test_path.write_text(json.dumps([ru for ru, _ in test]), encoding="utf-8")
    target = teacher_vectors([en for _, en in test])
    figures: dict[str, list[float]] = {}

    def keep(side: str, job: Callable[[], tuple[float, float, float]]) -> None:
        for name, value in zip(("seconds", "CPU seconds", "cosine"), job(), strict=True):
            figures.setdefault(f"{name} {side}", []).append(value)

    for _ in range(rounds):
        keep("engine", lambda: _engine(work, path, [ru for ru, _ in test], target))
        keep("sentence-transformers", lambda: _peer(work, path, test_path, target))
    found: dict[str, Any] = {name: statistics.median(each) for name, each in figures.items()}
    for name in ("seconds", "CPU seconds"):
        ratios = [b / a for a, b in zip(figures[f"{name} engine"],
                  figures[f"{name} sentence-transformers"], strict=True)]  # fmt: skip
        found[f"ratio of {name}"] = statistics.median(ratios)
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
    work: Path, path: Path, texts: list[str], target: np.ndarray[Any, Any]
) -> tuple[float, float, float]:
    for name in ("speed", "speed_cache"):
        shutil.rmtree(work / name, ignore_errors=True)
    run = train(work / "speed", work / "speed_cache", [
        f"data.train.path={path}", f"train.stages.0.epochs={EPOCHS}",
        f"train.stages.0.batch_size={BATCH}",
        "train.stages.0.losses=[{use: distill, teacher: minilm, compare: mse}]",
    ])  # fmt: skip
    cosine = (student_vectors(Path(run["model"]), texts) * target).sum(axis=1).mean()
    return run["seconds"], run["cpu"], float(cosine)


def _peer(
    work: Path, path: Path, test: Path, target: np.ndarray[Any, Any]
) -> tuple[float, float, float]:
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
    """Python of an environment of its own: this one's packages, and those of the library's trainer
    (accelerate, datasets)."""
    python = PEER / "bin" / "python"
    if not (PEER / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(PEER)], check=True)
        site = next((PEER / "lib").glob("python*/site-packages"))
        ours = [path for path in sys.path if path.endswith("site-packages")]
        (site / "ours.pth").write_text("".join(f"{path}\n" for path in ours), encoding="utf-8")
        constraints = ["--constraint", str(ROOT / "constraints.txt")]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *constraints, "accelerate",
                        "datasets"], check=True)  # fmt: skip
        (PEER / "ready").touch()
    return str(python)
