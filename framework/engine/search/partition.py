"""The inverted file of a large index: a file beside the catalogue, made again when it is outgrown.

It holds the vectors up to a number, without those that were removed up to another one; a reader
adds and removes what came later. So entries come and go without a rebuild.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.files import replacing
from engine.search import nearest
from engine.search.catalogue import Catalogue
from engine.search.nearest import Exact, Ids, Inverted, Rows, brute_force

_KEY = "inverted"
_BLOCK = 5_000
"""Vectors that are in memory at once while a file is made."""
_LATE = 0.1
"""Share of vectors that a reader may have to add by itself before the file is written again."""
_GROWN = 2.0
"""From so many times the vectors of its training on, it is trained again."""


def renew(folder: Path, catalogue: Catalogue, width: int) -> None:
    """Make, extend or remove the inverted file, as the number of vectors asks for."""
    count = catalogue.count()[0]
    about = _about(catalogue)
    if count <= nearest.EXACT:
        if about:
            catalogue.change([("DELETE FROM about WHERE key = ?", (_KEY,))])
        _sweep(folder, "")
        return
    added, removed = catalogue.snapshot()
    late = _changes(catalogue, about) if about else count
    if about and late <= _LATE * count and (folder / about["file"]).is_file():
        return
    if about and count < _GROWN * about["trained"] and (folder / about["file"]).is_file():
        index = _load(folder, about)
        catch_up(index, catalogue, width, (about["added"], about["removed"]))
        _write(folder, catalogue, index, {**about, "added": added, "removed": removed})
        return
    sample = _sample(catalogue, width, Inverted.sample_size(count) + nearest.QUERIES)
    queries = sample[: nearest.QUERIES].copy()
    index = Inverted.train(width, count, sample[nearest.QUERIES :] if count > 10_000 else sample)
    del sample  # a quarter of a gigabyte, where there are a million vectors
    for numbers, rows in catalogue.vectors_after(0, width, _BLOCK):
        index.add(numbers, rows)
    blocks = catalogue.vectors_after(0, width, _BLOCK)
    index.tune(queries, brute_force(queries, blocks, min(10, count))[1])
    _write(folder, catalogue, index, {"added": added, "removed": removed, "trained": count})


def open_index(folder: Path, catalogue: Catalogue, width: int) -> tuple[Exact | Inverted, int, int]:
    """The vectors of an index, ready to search, and the snapshot that they are of."""
    for _ in range(5):
        about = _about(catalogue)
        index: Exact | Inverted
        try:
            index = _load(folder, about) if about else Exact(width)
        except (OSError, RuntimeError):  # the writer has replaced it a moment ago
            continue
        break
    else:
        index, about = Exact(width), {}
    at = (about["added"], about["removed"]) if about else (0, 0)
    added, removed = catch_up(index, catalogue, width, at)
    return index, added, removed


def catch_up(
    index: Exact | Inverted, catalogue: Catalogue, width: int, at: tuple[int, int]
) -> tuple[int, int]:
    """Add and remove what came after a snapshot.

    Returns:
        The snapshot that the index is of now.
    """
    added, removed = at
    gone = catalogue.rows("SELECT id, vector FROM removed WHERE id > ? ORDER BY id", (removed,))
    if gone:
        index.remove(np.array([row[1] for row in gone if row[1] <= added], np.int64))
        removed = int(gone[-1][0])
    for numbers, rows in catalogue.vectors_after(added, width):
        index.add(numbers, rows)
        added = int(numbers[-1])
    return added, removed


def _about(catalogue: Catalogue) -> dict[str, Any]:
    text = catalogue.about(_KEY)
    found: dict[str, Any] = json.loads(text) if text else {}
    return found


def _changes(catalogue: Catalogue, about: dict[str, Any]) -> int:
    sql = "SELECT (SELECT count(*) FROM vectors WHERE id > ?), count(*) FROM removed WHERE id > ?"
    new, gone = catalogue.rows(sql, (about["added"], about["removed"]))[0]
    return int(new) + int(gone)


def _load(folder: Path, about: dict[str, Any]) -> Inverted:
    return Inverted.read(str(folder / about["file"]), about["probes"], about["recall"])


def _write(folder: Path, catalogue: Catalogue, index: Inverted, about: dict[str, Any]) -> None:
    """Write the file under a new name, then let the catalogue point to it."""
    name = f"inverted-{about['added']}-{about['removed']}.faiss"
    with replacing(folder / name) as file:
        index.write(file.write)
    kept = {**about, "file": name, "probes": index.probes, "recall": index.recall}
    catalogue.tell(_KEY, json.dumps(kept))
    _sweep(folder, name)


def _sweep(folder: Path, keep: str) -> None:
    for path in folder.glob("inverted-*.faiss"):
        if path.name != keep:
            with contextlib.suppress(OSError):
                path.unlink()


def _sample(catalogue: Catalogue, width: int, count: int) -> Rows:
    """Vectors drawn evenly, always the same ones."""
    numbers: Ids = np.array([row[0] for row in catalogue.rows("SELECT id FROM vectors")], np.int64)
    chosen = np.random.default_rng(0).choice(numbers, min(count, len(numbers)), replace=False)
    return catalogue.vectors(chosen.tolist(), width)[1]
