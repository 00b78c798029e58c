"""Exports of towers with their own preprocessing: a program that gives their numbers, or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from engine.contracts import SquarePreprocess
from engine.errors import EngineError, PluginError, WeightsError
from engine.exchange.preparation import portable, write_preparation

PROGRAM = """
import numpy as np

def prepare(image, about):
    pixels = np.asarray(image.resize((about["size"], about["size"])), dtype=np.float32)
    return pixels.transpose(2, 0, 1) / 128 - about["shift"]
"""


class Own:
    """Squashed; values from -1 to 1."""

    size = 16

    def to_array(self, image: Image.Image) -> Any:
        return np.asarray(image.resize((self.size, self.size)))

    def to_tensor(self, batch: torch.Tensor) -> torch.Tensor:
        return batch.permute(0, 3, 1, 2).float() / 128 - 1

    def identity(self) -> str:
        return "own"


class Portable(Own):
    """With a program, which the tests below change."""

    source = PROGRAM

    def to_json(self) -> dict[str, Any]:
        return {"size": self.size, "shift": 1}

    def program(self) -> str:
        return self.source


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("preprocess", [
    Portable(), SquarePreprocess(16), SquarePreprocess(17, resize="crop_first"),
    SquarePreprocess(16, resize="squash", interpolation="bilinear"),
], ids=["own", "shorter_side", "crop_first", "squash"])  # fmt: skip
def test_a_program_with_the_numbers_of_the_tower_is_written(
    preprocess: Any, tmp_path: Path
) -> None:
    write_preparation(portable(preprocess), tmp_path)
    assert written(tmp_path) == {"preprocess.py", "preprocess.json", "pictures.zip"}
    assert json.loads((tmp_path / "preprocess.json").read_text())["size"] == preprocess.size


def test_without_a_program_there_is_no_export() -> None:
    with pytest.raises(PluginError, match=r"in its own way \(Own\)") as raised:
        portable(Own())
    assert "PortablePreprocess" in str(raised.value.hint)


WRONG = {
    "are [16, 16, 3] of float32, not [3, 16, 16]": PROGRAM.replace(".transpose(2, 0, 1)", ""),
    "of float64": PROGRAM.replace("/ 128", "/ np.float64(128)").replace(", dtype=np.float32", ""),
    "differ by 7": PROGRAM.replace('about["shift"]', "8"),
    "fails (KeyError: 'sides')": PROGRAM.replace('"size"', '"sides"'),
    "fails (ImportError": "from preprocess import nothing",
    "it imports torch or engine": PROGRAM + "    import torch\n"
    "def other(): pass\n" + PROGRAM.replace("import numpy", "import torch; import numpy"),
}


@pytest.mark.parametrize("words", WRONG)
def test_a_program_with_other_numbers_is_refused(words: str, tmp_path: Path) -> None:
    own = Portable()
    own.source = WRONG[words]
    with pytest.raises(WeightsError) as raised:
        write_preparation(own, tmp_path)
    assert words in str(raised.value)


def test_settings_that_json_cannot_hold_are_refused(tmp_path: Path) -> None:
    class Odd(Portable):
        def to_json(self) -> dict[str, Any]:
            return {"size": np.float32(16)}

    with pytest.raises(EngineError, match=r"Odd.to_json gives what JSON cannot hold"):
        write_preparation(Odd(), tmp_path)
