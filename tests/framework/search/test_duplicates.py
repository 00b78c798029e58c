"""Near-duplicates: the groups of brute force, found a block at a time, and only once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.errors import DataError
from engine.search import duplicates
from engine.search.building import IndexReport
from engine.search.catalogue import Catalogue
from engine.search.duplicates import DuplicateGroup, find_duplicates
from engine.search.pages import duplicates_page

Indexed = Callable[..., IndexReport]


def names(groups: list[DuplicateGroup]) -> list[set[str]]:
    return [{entry.path.name for entry in group.entries} for group in groups]


def test_copies_and_small_changes_are_groups(
    indexed: Indexed, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "_BLOCK", 2)
    (photos / "копия.png").write_bytes((photos / "синий.png").read_bytes())
    Image.new("RGB", (200, 100), (250, 4, 6)).save(photos / "почти красный <b>.png")
    next(photos.glob("*.bmp")).unlink()  # reddish: it would be in a group too
    indexed(photos)
    groups = find_duplicates(tmp_path / "index", 0.99)
    assert sorted(map(sorted, names(groups))) == [
        ["копия.png", "синий.png"], ["красный.png", "почти красный <b>.png"],
    ]  # fmt: skip
    low = {frozenset(e.path.name for e in g.entries): g.lowest for g in groups}
    assert low[frozenset({"копия.png", "синий.png"})] == 1
    page = duplicates_page(groups, "index", 0.99)
    assert "<b>.png" not in page
    assert page.count("data:image/jpeg") == 4
    # what is new is compared, nothing else
    blocks: list[int] = []
    real = duplicates._pairs

    def counting(catalogue: Catalogue, ids: np.ndarray, *rest: object) -> object:  # type: ignore[type-arg]
        blocks.append(len(ids))
        return real(catalogue, ids, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(duplicates, "_pairs", counting)
    assert names(find_duplicates(tmp_path / "index", 0.99)) == names(groups)
    assert blocks == []
    Image.new("RGB", (200, 100), (254, 2, 3)).save(photos / "a.png")
    (photos / "копия.png").unlink()
    indexed(photos)
    (group,) = find_duplicates(tmp_path / "index", 0.99)
    assert blocks == [1]
    assert {"a.png", "красный.png"} <= {entry.path.name for entry in group.entries}


def test_stopped_in_the_middle_it_goes_on(
    indexed: Indexed, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "_BLOCK", 2)
    indexed(photos)
    expected = names(find_duplicates(tmp_path / "index", 0.93))
    with Image.open(photos / "синий.png") as image:
        image.convert("RGB").rotate(90, expand=True).save(photos / "ещё.png")
    indexed(photos)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_duplicates(tmp_path / "index", 0.91, stop)
    found = find_duplicates(tmp_path / "index", 0.91)
    assert {"синий.png", "ещё.png"} <= set().union(*names(found))
    assert len(find_duplicates(tmp_path / "index", 0.999)) >= 1
    assert len(expected) <= len(found)


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="out of range"):
        find_duplicates(tmp_path, 0.1)
    with pytest.raises(DataError, match="not an index"):
        find_duplicates(tmp_path)
