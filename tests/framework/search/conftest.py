"""Pictures of plain colours, which the colour model of the tests above knows by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engine.contracts.preprocess import Pixels
from engine.contracts.state import State
from engine.evaluate.predictor import Predictor
from engine.search.building import IndexReport, build_index
from engine.search.index import SearchIndex


@pytest.fixture
def photos(tmp_path: Path, colours: dict[str, Image.Image]) -> Path:
    """A picture of each colour, in two folders, with names in several encodings."""
    folder = tmp_path / "фото"
    (folder / "лето").mkdir(parents=True)
    for number, (name, image) in enumerate(colours.items()):
        image.save((folder / "лето" if number % 2 else folder) / f"{name}.png")
    raw = Path(os.fsdecode(os.fsencode(folder) + b"/\xf0\xe5\xe4.bmp"))  # "red" in CP1251
    Image.new("RGB", (40, 30), (200, 60, 60)).save(raw, "BMP")
    (folder / "битая.jpg").write_bytes(b"\xff\xd8\xff cut off")
    return folder


@pytest.fixture
def encoded(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that ran through the vision tower."""
    sizes: list[int] = []
    real = predictor.vision_state

    def counting(pixels: Sequence[Pixels]) -> State:
        sizes.append(len(pixels))
        return real(pixels)

    monkeypatch.setattr(predictor, "vision_state", counting)
    return sizes


@pytest.fixture
def indexed(predictor: Predictor, tmp_path: Path) -> Callable[..., IndexReport]:
    """Index folders with the colour model into `tmp_path / "index"`."""

    def call(*sources: Path, **more: Any) -> IndexReport:
        return build_index(tmp_path / "index", sources, predictor, workers=2, **more)

    return call


@pytest.fixture
def contents() -> Callable[[Path], dict[tuple[str, str], bytes]]:
    return _contents


def _contents(folder: Path) -> dict[tuple[str, str], bytes]:
    """By the place of each picture of an index: its vector's bytes, or its error."""
    with SearchIndex(folder) as index:
        rows = index.catalogue.rows(
            "SELECT path, member, vectors.vector, error FROM pictures"
            " LEFT JOIN vectors ON vectors.id = pictures.vector"
        )
    return {(os.fsdecode(row[0]), row[1]): row[2] or row[3].encode() for row in rows}
