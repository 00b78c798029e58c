"""`engine fit` of what configs/photos.yaml trained: the part `--fit` of photos.py.

The calibration set is phrases of the lexicon, evenly spaced, and crops of the photographs that
scikit-image and scikit-learn ship. No picture that is scored is among them, and no class name is
looked at.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from measure import engine_command
from numpy.typing import NDArray
from photo_crops import crops, sample_photos

from engine.core.registry import default_registry
from engine.evaluate.statistics import paired_test

LIMIT = "10MB"
TEXTS, CROPS = 512, 64
"""As many as `engine fit` reads."""


def fitted(model: Path, work: Path, limit: str = LIMIT) -> dict[str, Any]:
    """The model under the limit: its folder, bytes and CPU seconds; kept under ``work``."""
    folder = work / f"fit_{limit}"
    figures = folder / "figures.json"
    if figures.is_file():
        return json.loads(figures.read_text(encoding="utf-8"))  # type: ignore[no-any-return]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "texts.txt").write_text("\n".join(phrases(TEXTS)), encoding="utf-8")
    write_crops(folder / "crops", CROPS)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [engine_command(), "fit", str(model), "--limit", limit, "--json",
               "--texts", str(folder / "texts.txt"), "--data", str(folder / "crops"),
               "--html", str(folder / "fit.html"), "-o", str(folder / "model")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"benchmark: {' '.join(command)} failed:\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = json.loads(done.stdout)
    found = {
        "model": str(folder / "model"), "bytes": said["bytes"], "quality": said.get("quality"),
        "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    }  # fmt: skip
    figures.write_text(json.dumps(found), encoding="utf-8")
    return found


def phrases(count: int) -> list[str]:
    """Phrases of the lexicon, evenly spaced in the order of the alphabet."""
    registry = default_registry()
    plugin = registry.get("dataset", "lexicon")
    lexicon = plugin.load()(plugin.load_settings()(otherwise="emoji"))
    places = np.linspace(0, len(lexicon) - 1, count).round().astype(int)
    return [lexicon.record(int(place)).id for place in places]


def write_crops(folder: Path, count: int) -> None:
    """Random crops, some of them mirrored, of photographs that packages ship, as `engine fit` reads
    them: a folder with img/ and classes.json, without right answers."""
    shutil.rmtree(folder, ignore_errors=True)
    images = folder / "crops" / "img"
    images.mkdir(parents=True)
    names = list(sample_photos().classes)
    (folder / "crops" / "classes.json").write_text(json.dumps(names))
    for number, image in enumerate(crops(count)):
        image.save(images / f"{number}.png")


def difference(after: NDArray[np.bool_], before: NDArray[np.bool_]) -> dict[str, Any]:
    """The fitted model's accuracy minus the original's, in points, on the same photographs.

    Args:
        after, before: [seeds, photographs], which were answered rightly.
    """
    test = paired_test([after], [before])
    return {
        "difference": test.value, "interval": [test.low, test.high], "p": test.p,
        "by_seed": [100 * float(a.mean() - b.mean()) for a, b in zip(after, before, strict=True)],
        "changed": int((after != before).sum()),
    }  # fmt: skip
