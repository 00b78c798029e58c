"""The program of an export that turns pictures into pixels, tried before it is handed over."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.contracts.preprocess import PortablePreprocess, Preprocess, to_batch, to_pixels
from engine.errors import PluginError, WeightsError
from engine.exchange.pictures import PACKAGE, reader_package

PROGRAM = "preprocess.py"
"""The module with the function ``prepare``."""

SETTINGS = "preprocess.json"
"""What the program needs to know."""

_SIZES = ((640, 480), (37, 91), (224, 224), (5, 3), (1, 70))
"""Width and height of the pictures that it is tried with."""

_SECONDS = 120
_TOLERANCE = 1e-4
"""Most that a number may differ: float32 in another order of operations."""

_TRIAL = """
import json, sys
sys.path.insert(0, "pictures.zip")
import numpy as np
from PIL import Image
sys.path.insert(0, ".")
from preprocess import prepare
about = json.load(open("preprocess.json", encoding="utf-8"))
found = [np.asarray(prepare(Image.open(name), about)) for name in sys.argv[1:]]
assert not {"torch", "engine"} & {name.partition(".")[0] for name in sys.modules}, \\
    "it imports torch or engine"
np.savez("found.npz", *found)
"""


def portable(preprocess: Preprocess) -> PortablePreprocess:
    """The preprocessing of a tower as one that can be exported.

    Raises:
        PluginError: it has no program.
    """
    if isinstance(preprocess, PortablePreprocess):
        return preprocess
    raise PluginError(
        f"the vision tower prepares pictures in its own way ({type(preprocess).__qualname__}),"
        " which cannot be written into an export",
        hint="the plugin's author gives it `to_json` and `program`: see"
        " engine.contracts.PortablePreprocess",
    )


def write_preparation(preprocess: PortablePreprocess, folder: Path) -> None:
    """Write the program, its settings and Engine's reader of pictures; compare the numbers.

    The program runs in a process of its own, as the users of the export will run it.

    Raises:
        PluginError: its settings cannot be written as JSON.
        WeightsError: the program fails, or gives other numbers than the tower's preprocessing.
    """
    try:
        about = json.dumps(preprocess.to_json(), ensure_ascii=False, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise PluginError(
            f"{type(preprocess).__qualname__}.to_json gives what JSON cannot hold: {error}",
            hint="a fault of the vision tower's plugin: numbers, texts, lists and dictionaries",
        ) from error
    (folder / SETTINGS).write_text(f"{about}\n", encoding="utf-8")
    (folder / PROGRAM).write_text(preprocess.program(), encoding="utf-8")
    (folder / PACKAGE).write_bytes(reader_package())
    _try(preprocess, folder)


def _try(preprocess: PortablePreprocess, folder: Path) -> None:
    rng = np.random.default_rng(0)
    names = []
    for number, (width, height) in enumerate(_SIZES):
        noise = rng.integers(0, 256, (height, width, 3), np.uint8)
        names.append(f"trial{number}.png")
        Image.fromarray(noise).save(folder / names[-1])
    try:
        found = _run(names, folder)
        for name, theirs in zip(names, found, strict=True):
            _compare(theirs, _expected(folder / name, preprocess), name)
    finally:
        for name in (*names, "found.npz"):
            (folder / name).unlink(missing_ok=True)


def _expected(path: Path, preprocess: Preprocess) -> NDArray[np.float32]:
    with Image.open(path) as image:
        pixels = to_pixels(image.convert("RGB"), preprocess)
    tensor: NDArray[np.float32] = to_batch([pixels], preprocess)[0].float().numpy()
    return tensor


def _run(names: list[str], folder: Path) -> list[NDArray[np.float32]]:
    done = subprocess.run(
        [sys.executable, "-B", "-c", _TRIAL, *names],
        cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise WeightsError(
            f"{PROGRAM}: the program that prepares pictures fails ({reason})",
            hint="a fault of the vision tower's plugin: see engine.contracts.PortablePreprocess",
        )
    with np.load(folder / "found.npz", allow_pickle=False) as found:
        return [found[key] for key in found.files]


def _compare(found: NDArray[np.float32], wanted: NDArray[np.float32], name: str) -> None:
    if found.shape == wanted.shape and found.dtype == np.float32:
        difference = float(np.abs(found - wanted).max())
        if difference <= _TOLERANCE * max(1.0, float(np.abs(wanted).max())):
            return
        other = f"differ by {difference:.2e}"
    else:
        other = f"are {list(found.shape)} of {found.dtype}, not {list(wanted.shape)} of float32"
    raise WeightsError(
        f"{PROGRAM}: the numbers of the program that prepares pictures {other} ({name});"
        " nothing was written",
        hint="a fault of the vision tower's plugin: its program must do what to_array and"
        " to_tensor do",
    )
